"""What sections of a page are written with."""

from __future__ import annotations

__all__ = ["number", "scrolling", "section", "signed"]


def section(heading: str, content: str) -> str:
    """Return a part of the page under a heading."""
    return f"<section>\n<h2>{heading}</h2>\n{content}\n</section>\n"


def scrolling(table: str) -> str:
    """Let a table that is too wide for the window scroll alone."""
    return f'<div class="scrolling">\n{table}\n</div>'


def number(value: float | None) -> str:
    """Return a number with two digits behind the point; a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{value:.2f}"


def signed(points: float, digits: int = 2) -> str:
    """Return the number with its sign, a true minus; what rounds to zero has none."""
    text = f"{points:+.{digits}f}"
    return text[1:] if not text.strip("+-0.") else text.replace("-", "\N{MINUS SIGN}")
