"""BMP, PNM and Sun raster: a header, and rows of pixels that are hardly compressed."""

from __future__ import annotations

import re

from reid.runtime.image_headers.fields import CUT_SHORT, NOT_READABLE, number, unread

__all__ = ["bmp_size", "pnm_size", "sun_raster_size"]

_NUMBER = rb"(?:\s|#[^\r\n]*[\r\n])*(\d{1,10})(?=\s)"
_BITMAP = re.compile(rb"P[14](?=\s)" + 2 * _NUMBER)
_GRAY_OR_COLOR = re.compile(rb"P[2356](?=\s)" + 3 * _NUMBER)


def bmp_size(content: bytes) -> tuple[int, int]:
    """Read one of the two kinds of headers."""
    header = number(content, 14, 4)
    if header == 12:
        return number(content, 18, 2), number(content, 20, 2)
    if header >= 36:
        height = int.from_bytes(content[22:26], "little", signed=True)  # negative if the rows are from top to bottom
        return number(content, 18, 4), abs(height)
    raise ValueError(NOT_READABLE)


def pnm_size(content: bytes) -> tuple[int, int]:
    """Read a PBM, PGM or PPM, in text or binary, and see that there are as many bytes as pixels need."""
    if content[1:2] == b"7":
        raise unread("a PAM file")  # OpenCV exchanges red and blue, and takes black and white for bits
    header = _BITMAP.match(content) or _GRAY_OR_COLOR.match(content)
    if header is None:
        raise ValueError(NOT_READABLE)
    kind, (width, height, *greatest) = content[1:2], map(int, header.groups())
    if greatest and greatest[0] not in (255, 65535):  # which OpenCV does not scale
        raise unread(f"a PNM of values up to {greatest[0]:,}")
    samples = width * (3 if kind in b"36" else 1)
    if kind == b"1":
        needed = samples * height  # digits, which need nothing between them
    elif kind in b"23":
        needed = 2 * samples * height - 1  # a digit and what ends it
    elif kind == b"4":
        needed = (samples + 7) // 8 * height
    else:
        needed = samples * (1 if greatest == [255] else 2) * height
    if len(content) - header.end() - 1 < needed:
        raise ValueError(CUT_SHORT)
    return width, height


def sun_raster_size(content: bytes) -> tuple[int, int]:
    """Read the header, and see that there are as many bytes as pixels need."""
    width, height, bits, _, encoding, _, colors = (number(content, start, 4, "big") for start in range(4, 32, 4))
    if bits not in (8, 24) or encoding > 1:
        # OpenCV knows no run lengths and no order red, green, blue; it exchanges black and white of 1 bit; and for 32
        # bits, its reader and its writer have different orders.
        raise unread(f"a Sun raster of {bits} bits and encoding {encoding}")
    if len(content) < 32 + colors + (width * bits // 8 + 1) // 2 * 2 * height:
        raise ValueError(CUT_SHORT)
    return width, height
