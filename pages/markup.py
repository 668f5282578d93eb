"""Building blocks for the sections of a page."""

from __future__ import annotations

__all__ = ["number", "scrolling", "section", "signed"]


def section(heading: str, content: str) -> str:
    """Return a section of the page under a heading."""
    return f"<section>\n<h2>{heading}</h2>\n{content}\n</section>\n"


def scrolling(table: str) -> str:
    """Wrap a table so that it scrolls by itself if it is too wide for the window."""
    return f'<div class="scrolling">\n{table}\n</div>'


def number(value: float | None) -> str:
    """Return a number with two decimal places, or a dash for None."""
    return "\N{EN DASH}" if value is None else f"{value:.2f}"


def signed(points: float, digits: int = 2) -> str:
    """Return a number with its sign (a true minus); one that rounds to zero has no sign."""
    text = f"{points:+.{digits}f}"
    return text[1:] if not text.strip("+-0.") else text.replace("-", "\N{MINUS SIGN}")
