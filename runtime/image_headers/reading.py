"""An image's format and size by its content."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from reid.runtime.image_headers.avif import avif_size
from reid.runtime.image_headers.fields import NOT_READABLE
from reid.runtime.image_headers.gif import gif_size
from reid.runtime.image_headers.jpeg import jpeg_size
from reid.runtime.image_headers.jpeg2000 import jpeg2000_size
from reid.runtime.image_headers.pixel_rows import bmp_size, pnm_size, sun_raster_size
from reid.runtime.image_headers.png import png_size
from reid.runtime.image_headers.tiff import tiff_size
from reid.runtime.image_headers.webp import webp_size

__all__ = ["ImageHeader", "read_header"]


class ImageHeader(NamedTuple):
    """An image's format, and its width and height before its orientation is applied."""

    format: str
    width: int
    height: int


_FORMATS: tuple[tuple[str, bytes, Callable[[bytes], tuple[int, int]]], ...] = (
    ("JPEG", rb"\xff\xd8", jpeg_size),
    ("PNG", rb"\x89PNG\r\n\x1a\n", png_size),
    ("BMP", rb"BM", bmp_size),
    ("WebP", rb"RIFF....WEBP", webp_size),
    ("TIFF", rb"II[*+]\0|MM\0[*+]", tiff_size),
    ("PNM", rb"P[1-7]\s", pnm_size),
    ("GIF", rb"GIF8[79]a", gif_size),
    ("AVIF", rb"....ftyp", avif_size),
    ("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", jpeg2000_size),
    ("Sun raster", rb"\x59\xa6\x6a\x95", sun_raster_size),
)
"""Name, how a file begins, and what reads its size.

Left out are formats of floating-point numbers (Radiance HDR, PFM, OpenEXR): without an exposure they have no 8-bit
pixels, and nobody stores crops in them.
"""


def read_header(content: bytes) -> ImageHeader:
    """Return an image's format and size.

    Raises:
        ValueError: the reason, in a few words: another format, cut short, or made to cost much. Decoders fill what is
            missing of a truncated file with gray, so the end of the image is looked for here.
    """
    for name, beginning, size in _FORMATS:
        if re.match(beginning, content, re.DOTALL):
            return ImageHeader(name, *size(content))
    raise ValueError(NOT_READABLE)
