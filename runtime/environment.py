"""Integers from environment variables, each within a range."""

from __future__ import annotations

import os

from reid.runtime.errors import ReidError

__all__ = ["environment_integer"]


def environment_integer(name: str, *, default: int, least: int, most: int) -> int:
    """Return the integer in an environment variable, or the default where it is not set or empty.

    Raises:
        ReidError: the value is no integer, or is out of range.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    # The length first: Python takes quadratic time to read thousands of digits.
    if len(text) <= len(str(most)) and text.isascii() and text.isdecimal() and least <= int(text) <= most:
        return int(text)
    raise ReidError(f"{name} is {text[:40]!r}: set it to an integer from {least} to {most}, or unset it")
