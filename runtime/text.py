"""Text from files and their names, made fit for one line of a terminal."""

from __future__ import annotations

import unicodedata

__all__ = ["clipped", "one_line", "printable"]

_LONGEST, _END = 2000, 600
"""Length of a line that is clipped, and of the end of the text that it keeps, in characters."""


def printable(text: object) -> str:
    """Return a text with escapes for what would steer a terminal or mislead its reader, as file names may.

    These are control characters, marks that change the direction of text, invisible characters, and the bytes of names
    that are not valid UTF-8. Letters of every script stay as they are.
    """
    return "".join(one if _is_visible(one) else one.encode("unicode_escape").decode() for one in str(text))


def _is_visible(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def one_line(text: object) -> str:
    """Return a text as one printable line."""
    return printable(str(text).replace("\n", " "))


def clipped(line: str) -> str:
    """Return a line without its middle if it is too long: what is wrong stands in front, and the remedy at the end."""
    dots = " [...] "
    return line if len(line) <= _LONGEST else line[: _LONGEST - _END - len(dots)] + dots + line[-_END:]
