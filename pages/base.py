"""What all pages share: each is one HTML file without scripts or outside requests, for light, dark and paper."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from html import escape
from pathlib import Path

from reid.pages.thumbnail import thumbnail
from reid.runtime.errors import DataError
from reid.runtime.tracklet import Frame

__all__ = ["CHARTS", "SECTIONS", "Pictures", "head", "mark", "terms"]

SECTIONS = Path(__file__).with_name("sections.css")
"""The style sheet for pages with sections and tables."""

CHARTS = Path(__file__).with_name("charts.css")
"""The style sheet for what charts.chart draws."""

_STYLE = Path(__file__).with_name("page.css")

# Drawn once and referred to by <use>, the marks look the same whatever fonts a reader has.
_SYMBOLS = """
<svg class="symbols" aria-hidden="true">
<symbol id="right" viewBox="0 0 16 16"><path d="M3.5 8.5l3 3 6-7"/></symbol>
<symbol id="wrong" viewBox="0 0 16 16"><path d="M4.5 4.5l7 7m0-7l-7 7"/></symbol>
<symbol id="open" viewBox="0 0 16 16"><path d="M5.5 6a2.5 2.5 0 1 1 3.4 2.3q-.9.4-.9 1.4m0 2.2v.4"/></symbol>
<symbol id="no-picture" viewBox="0 0 96 96"><rect x="31" y="26" width="34" height="26" rx="3"/>
<path d="M26 58l44-38"/><text x="48" y="73">no picture</text></symbol>
</svg>
"""


class Pictures:
    """Draws frames; the bytes of each are written into the page once, and later uses refer back to them."""

    def __init__(self) -> None:
        self._names: dict[Hashable, str] = {}

    def draw(self, key: Hashable, frame: Frame, label: str) -> str:
        """Return an <svg> of a frame.

        Args:
            key: what the frame shows; only the first frame with a given key is read.
            frame: the frame to draw; one that cannot be read is replaced by a placeholder.
            label: a description for people who cannot see the picture.
        """
        symbol = "" if key in self._names else self._define(key, frame)
        use = f'<use href="#{self._names[key]}"/>'
        return f'<svg class="picture" role="img" aria-label="{escape(label)}">{symbol}{use}</svg>'

    def _define(self, key: Hashable, frame: Frame) -> str:
        try:
            small = thumbnail(frame)
        except DataError:
            self._names[key] = "no-picture"
            return ""
        self._names[key] = name = f"picture-{len(self._names)}"
        size = f'width="{small.width}" height="{small.height}"'
        view = f"0 0 {small.width} {small.height}"
        return f'<symbol id="{name}" viewBox="{view}"><image {size} href="{small.uri}"/></symbol>'


def head(title: str, *styles: Path) -> str:
    """Return the page up to and including <body>, with the style sheet of all pages followed by the page's own."""
    # The policy makes the browser enforce what the page promises: no scripts, and no requests to anywhere.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{"".join(style.read_text(encoding="utf-8") for style in (_STYLE, *styles))}</style>
</head>
<body>{_SYMBOLS}"""


def terms(facts: Mapping[str, str]) -> str:
    """Return an HTML list of names and values."""
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>\n" for k, v in facts.items())
    return f"<dl>\n{items}</dl>"


def mark(name: str, label: str | None = None) -> str:
    """Return the mark "right", "wrong" or "open", in the color of the surrounding element with the same class."""
    return f'<svg class="mark" role="img" aria-label="{escape(label or name)}"><use href="#{name}"/></svg>'
