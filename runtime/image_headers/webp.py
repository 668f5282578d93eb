"""WebP."""

from __future__ import annotations

from reid.runtime.image_headers.fields import CUT_SHORT, NOT_READABLE, number

__all__ = ["webp_size"]


def webp_size(content: bytes) -> tuple[int, int]:
    """Read the first chunk, which is one of three kinds."""
    if len(content) < 8 + number(content, 4, 4):
        raise ValueError(CUT_SHORT)
    match content[12:16]:
        case b"VP8X":
            return number(content, 24, 3) + 1, number(content, 27, 3) + 1
        case b"VP8L":
            sides = number(content, 21, 4)
            return (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return number(content, 26, 2) & 0x3FFF, number(content, 28, 2) & 0x3FFF
    raise ValueError(NOT_READABLE)
