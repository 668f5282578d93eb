"""Names that a file gives: they are names, nowhere paths. Every reader of foreign files asks here."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

__all__ = ["FileHashes", "check_name", "check_relative_name", "is_name"]

_LONGEST = 255
"""The longest name that common file systems take, in bytes."""


def is_name(text: str) -> bool:
    """Return whether a text can only be the visible name of a file within one folder.

    Path separators of any system, control characters, and names that are not valid Unicode are refused.
    """
    if not text or text.startswith(".") or not text.isprintable() or "/" in text or "\\" in text:
        return False
    try:
        return len(text.encode()) <= _LONGEST
    except UnicodeEncodeError:
        return False


def check_name(text: str) -> str:
    """Return a name as it is. Raises ValueError where it is not one; see is_name."""
    if not is_name(text):
        raise ValueError(f"{text[:_LONGEST]!r} is not the plain name of a file")
    return text


def check_relative_name(text: str) -> str:
    """Return the relative path of a file below a folder, if it consists of names. Raises ValueError where it does not.

    One file has one such path: there is no `.`, no `..`, no doubled separator in it.
    """
    if not all(map(is_name, text.split("/"))):
        raise ValueError(f"{text[:_LONGEST]!r} is not the path of a file within its folder")
    return text


FileHashes: TypeAlias = dict[
    Annotated[str, AfterValidator(check_relative_name)], Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
]
"""Files, by their paths relative to the folder whose list this is -> SHA-256, in hexadecimal."""
