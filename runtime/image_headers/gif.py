"""GIF, of which the first frame is decoded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reid.runtime.image_headers.fields import CUT_SHORT, NOT_READABLE, number

__all__ = ["gif_size"]

_EXTENSION, _FRAME, _TRAILER = 0x21, 0x2C, 0x3B
_WIDEST = 12
"""The most bits of a code."""

_FREE_CLEARS, _PIXELS_PER_CLEAR = 4096, 1024
"""OpenCV makes a table of 4,096 entries anew at each clear code: 12 s for 1 MB of them. Encoders clear it when it is
full, after some 3,800 codes; those that avoid compression after some 100."""


def gif_size(content: bytes) -> tuple[int, int]:
    """Walk from block to block to the end, as OpenCV does, and look into the first frame."""
    width, height = number(content, 6, 2), number(content, 8, 2)
    position, frames = 13 + _color_bytes(content, 10), 0
    while (kind := number(content, position, 1)) != _TRAILER:
        if kind == _EXTENSION:
            _, position = _blocks(content, position + 2)
        elif kind == _FRAME:
            start = position + 10 + _color_bytes(content, position + 9)
            data, position = _blocks(content, start + 1)
            if not frames:
                _check_clears(data, number(content, start, 1), _FREE_CLEARS + width * height // _PIXELS_PER_CLEAR)
            frames += 1
        else:
            raise ValueError(NOT_READABLE if position < len(content) else CUT_SHORT)
    if not frames:
        raise ValueError(NOT_READABLE)
    return width, height


def _color_bytes(content: bytes, flags_at: int) -> int:
    """Return the size of a color table, by the flags that announce it."""
    flags = number(content, flags_at, 1)
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks(content: bytes, position: int) -> tuple[bytes, int]:
    """Return the data of a chain of blocks, each of which begins with its size, and where the chain ends."""
    blocks = []
    while size := number(content, position, 1):
        blocks.append(content[position + 1 : position + 1 + size])
        position += 1 + size
    if position >= len(content):
        raise ValueError(CUT_SHORT)
    return b"".join(blocks), position + 1


def _check_clears(data: bytes, bits: int, most: int) -> None:
    """Count the codes that clear a decoder's table or end the image, after which OpenCV goes on.

    How wide a code is depends only on how many came since the table was last cleared.
    """
    if not 2 <= bits < _WIDEST:
        raise ValueError(NOT_READABLE)
    clears = position = 0
    width, count = bits + 1, (1 << bits) - 1
    while (codes := _codes(data, position, width, count)).size:
        found = np.flatnonzero(codes >> 1 == 1 << bits - 1)  # to clear is 1 << bits, to end one more
        if found.size:
            clears += 1
            position += width * (int(found[0]) + 1)
            width, count = bits + 1, (1 << bits) - 1
        else:
            position += width * codes.size
            width, count = min(width + 1, _WIDEST), 1 << min(width, _WIDEST - 1)
        if clears > most:
            raise ValueError(f"more than {most:,} clear codes, which take too long to decode")


def _codes(data: bytes, position: int, width: int, count: int) -> NDArray[np.int64]:
    """Return so many codes of so many bits, or as many as are left, from a position in bits on."""
    count = min(count, (8 * len(data) - position) // width)
    start, end = position // 8, (position + width * count + 7) // 8
    bits = np.unpackbits(np.frombuffer(data, np.uint8)[start:end], bitorder="little")
    places = bits[position % 8 :][: width * count].reshape(count, width)
    return places @ (1 << np.arange(width, dtype=np.int64))
