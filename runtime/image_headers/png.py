"""PNG."""

from __future__ import annotations

from reid.runtime.files.reading import MEBIBYTE
from reid.runtime.image_headers.fields import CUT_SHORT, NOT_READABLE, number

__all__ = ["png_size"]

_MOST_CHUNKS = 100_000
"""An encoder that writes small ones needs some 10,000."""

_MOST_TEXTS = 16
"""A few kilobytes of compressed text may become 8 MB, and libpng keeps all of them."""


def png_size(content: bytes) -> tuple[int, int]:
    """Walk from chunk to chunk: OpenCV takes the memory that a chunk says it needs, though the file may not hold it."""
    if content[8:16] != b"\0\0\0\rIHDR":
        raise ValueError(NOT_READABLE)
    width, height = number(content, 16, 4, "big"), number(content, 20, 4, "big")
    texts = data = 0
    position = 8
    for _ in range(_MOST_CHUNKS):
        size, kind = number(content, position, 4, "big"), content[position + 4 : position + 8]
        position += 12 + size
        if position > len(content):
            raise ValueError(CUT_SHORT)
        if kind == b"IEND" and not data and position < len(content):  # OpenCV would look for data behind the end
            raise ValueError(NOT_READABLE)
        if kind == b"IEND":
            return width, height
        texts += kind in (b"zTXt", b"iTXt")
        data += size * (kind == b"IDAT")
        if texts > _MOST_TEXTS:
            raise ValueError(f"more than {_MOST_TEXTS} compressed texts, which may take gigabytes of memory")
        if data > 16 * width * height + MEBIBYTE:  # the rest would be decompressed for nothing, a thousandfold
            raise ValueError(f"more data than an image of {width:,} x {height:,} pixels can have")
    raise ValueError(f"more than {_MOST_CHUNKS:,} chunks, which take too long to read")
