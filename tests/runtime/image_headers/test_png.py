from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from reid.runtime.errors import DataError
from reid.runtime.image_headers.png import png_size
from reid.runtime.imaging import decode

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes, size: int | None = None) -> bytes:
    checked = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content) if size is None else size) + kind + content + checked


HEADER = chunk(b"IHDR", struct.pack(">IIBBBBB", 6, 5, 8, 2, 0, 0, 0))
ROWS = chunk(b"IDAT", zlib.compress((b"\0" + bytes(18)) * 5))
END = chunk(b"IEND", b"")


def test_an_image_of_chunks_has_the_size_that_opencv_decodes() -> None:
    content = SIGNATURE + HEADER + ROWS + END
    assert png_size(content) == (6, 5)
    assert decode(content, "x").shape == (5, 6, 3)
    assert png_size(content + b"left behind") == (6, 5)
    encoded = bytes(cv2.imencode(".png", np.zeros((7, 9, 3), np.uint8))[1])
    assert png_size(encoded) == (9, 7)


@pytest.mark.parametrize(
    "chunks",
    [
        HEADER + chunk(b"IDAT", b"x", size=0xFFFF0000),
        HEADER + END + chunk(b"IDAT", b"x", size=0xFFFF0000),
        HEADER + chunk(b"tRNS", b"x", size=0x7FFFFFFF) + ROWS + END,
    ],
    ids=["data that the file does not hold", "data behind the end", "another chunk"],
)
def test_a_chunk_that_asks_for_gigabytes_is_refused_before_opencv_sees_it(chunks: bytes) -> None:
    """OpenCV takes the memory that a chunk says it needs."""
    with pytest.raises(ValueError, match=r"^(the image is cut short|not a readable image)$"):
        png_size(SIGNATURE + chunks)
    with pytest.raises(DataError):
        decode(SIGNATURE + chunks, "x")
