r"""Texts as LanceDB can hold them: it takes UTF-8 only, and names of files may be none.

Python has surrogates in such names. Stored is an escape for each, `\udcff`, and a backslash is doubled.
"""

from __future__ import annotations

import re

__all__ = ["from_stored", "to_stored"]

_ESCAPE = re.compile(r"\\(?:\\|u([0-9a-f]{4}))")


def to_stored(text: str) -> str:
    """Return a text as it is stored."""
    return text.replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode()


def from_stored(stored: str) -> str:
    """Return the text that is stored as this."""
    return _ESCAPE.sub(_unescaped, stored) if "\\" in stored else stored


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else "\\"
