"""What an image file says of itself before it is decoded: its size, and whether it is whole.

OpenCV recognizes a format by the content, whatever the file's suffix, and knows many. Only the four that are read here
may reach it, so that nothing is decoded whose size is unknown. Headers are read as OpenCV and the libraries behind it
read them.
"""

from __future__ import annotations

import re
from typing import Literal

from reid.runtime.files.reading import MEBIBYTE

__all__ = ["image_size"]

_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
"""A marker that starts a segment or ends the image, but not the escapes and restarts inside a scan."""

_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers whose segment gives the size: SOF0 to SOF15."""

_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9

_MOST_SEGMENTS = 100_000
"""The most segments of a JPEG, or chunks of a PNG; an encoder that writes small ones needs some 10,000."""

_MOST_SCANS = 100
"""Every scan of a progressive JPEG passes over all pixels again; encoders write about ten."""

_MOST_TEXTS = 16
"""A few kilobytes of compressed text in a PNG may become 8 MB, and libpng keeps all of them."""


def image_size(content: bytes) -> tuple[int, int]:
    """Return an image's width and height, before its orientation is applied, by its first bytes.

    Raises:
        ValueError: the reason, in a few words: not a JPEG, PNG, BMP or WebP file, cut short, or made to be slow.
            Decoders fill the missing part of a truncated file with gray, so the end of the image is looked for here.
    """
    if content.startswith(b"\xff\xd8"):
        return _jpeg_size(content)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_size(content)
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return _webp_size(content)
    if content.startswith(b"BM"):
        return _bmp_size(content)
    raise ValueError("not a readable image")


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Walk from segment to segment, so that neither the end of an embedded thumbnail nor trailing bytes mislead."""
    sizes = [(0, 0)]
    scans, position = 0, 2
    for _ in range(_MOST_SEGMENTS):
        marker = _JPEG_MARKER.search(content, position)
        if marker is None:
            raise ValueError("the image is cut short")
        kind, position = marker[1][0], marker.end()
        if kind == _JPEG_END:
            return max(sizes, key=lambda size: size[0] * size[1])
        if kind in _JPEG_SIZES:
            sizes.append((_number(content, position + 5, 2, "big"), _number(content, position + 3, 2, "big")))
        scans += kind == _JPEG_SCAN
        if scans > _MOST_SCANS:
            raise ValueError(f"more than {_MOST_SCANS} scans, which take too long to decode")
        position += _number(content, position, 2, "big")
    raise ValueError(f"more than {_MOST_SEGMENTS:,} segments, which take too long to read")


def _png_size(content: bytes) -> tuple[int, int]:
    """Walk from chunk to chunk: OpenCV takes the memory that a chunk says it needs, though the file may not hold it."""
    if content[8:16] != b"\0\0\0\rIHDR":
        raise ValueError("not a readable image")
    width, height = _number(content, 16, 4, "big"), _number(content, 20, 4, "big")
    texts = data = 0
    position = 8
    for _ in range(_MOST_SEGMENTS):
        size, kind = _number(content, position, 4, "big"), content[position + 4 : position + 8]
        position += 12 + size
        if position > len(content):
            raise ValueError("the image is cut short")
        if kind == b"IEND":
            return width, height
        texts += kind in (b"zTXt", b"iTXt")
        data += size * (kind == b"IDAT")
        if texts > _MOST_TEXTS:
            raise ValueError(f"more than {_MOST_TEXTS} compressed texts, which may take gigabytes of memory")
        if data > 16 * width * height + MEBIBYTE:  # the rest would be decompressed for nothing, a thousandfold
            raise ValueError(f"more data than an image of {width:,} x {height:,} pixels can have")
    raise ValueError(f"more than {_MOST_SEGMENTS:,} chunks, which take too long to read")


def _webp_size(content: bytes) -> tuple[int, int]:
    if len(content) < 8 + _number(content, 4, 4):
        raise ValueError("the image is cut short")
    match content[12:16]:
        case b"VP8X":
            return _number(content, 24, 3) + 1, _number(content, 27, 3) + 1
        case b"VP8L":
            sides = _number(content, 21, 4)
            return (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return _number(content, 26, 2) & 0x3FFF, _number(content, 28, 2) & 0x3FFF
    raise ValueError("not a readable image")


def _bmp_size(content: bytes) -> tuple[int, int]:
    header = _number(content, 14, 4)
    if header == 12:
        return _number(content, 18, 2), _number(content, 20, 2)
    if header >= 36:
        height = int.from_bytes(content[22:26], "little", signed=True)  # negative if the rows are from top to bottom
        return _number(content, 18, 4), abs(height)
    raise ValueError("not a readable image")


def _number(content: bytes, start: int, size: int, order: Literal["big", "little"] = "little") -> int:
    return int.from_bytes(content[start : start + size], order)
