"""Boxes, of which JPEG 2000 and AVIF files consist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from reid.runtime.image_headers.fields import CUT_SHORT, number

__all__ = ["Box", "boxes"]


class Box(NamedTuple):
    """A box's kind, and where its content starts and ends."""

    kind: bytes
    start: int
    end: int


def boxes(content: bytes, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two positions, one after the other.

    Raises:
        ValueError: one ends behind the end.
    """
    while start < end:
        size, kind, header = number(content, start, 4, "big"), content[start + 4 : start + 8], 8
        if size == 1:
            size, header = number(content, start + 8, 8, "big"), 16
        elif size == 0:  # the last box
            size = end - start
        if size < header or start + size > end:
            raise ValueError(CUT_SHORT)
        yield Box(kind, start + header, start + size)
        start += size
