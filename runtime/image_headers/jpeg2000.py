"""JPEG 2000: a codestream, alone or in boxes."""

from __future__ import annotations

import struct
from typing import NamedTuple

from reid.runtime.image_headers.boxes import Box, boxes
from reid.runtime.image_headers.fields import CUT_SHORT, NOT_READABLE, number, unread

__all__ = ["jpeg2000_size"]

_START, _END = b"\xff\x4f\xff\x51", b"\xff\xd9"
_CODING, _CODING_OF_COMPONENT, _QUANTIZATION, _QUANTIZATION_OF_COMPONENT = 0x52, 0x53, 0x5C, 0x5D
_LENGTHS, _COMMENT, _TILE_PART, _DATA = 0x58, 0x64, 0x90, 0x93

_SYCC = 18

_FREE_TILES, _PIXELS_PER_TILE, _MOST_TILES = 64, 1 << 12, (1 << 16) - 1
"""OpenJPEG keeps some 10 KB for each tile."""

_MOST_LAYERS = 64
_LEAST_BLOCK = 8
"""A power of two: the pixels of a code block, for each of which OpenJPEG keeps some 200 bytes."""

_FREE_PRECINCTS, _PIXELS_PER_PRECINCT = 1 << 12, 1 << 9
"""It keeps some 700 bytes for each precinct."""


class _Image(NamedTuple):
    width: int
    height: int
    components: int


def jpeg2000_size(content: bytes) -> tuple[int, int]:
    """Walk from marker to marker and from tile to tile.

    Where the main header is wrong in any way, OpenJPEG up to 2.5.3 goes on with an image that it has not made, and
    OpenCV 4.11 crashes (CVE-2025-54874). So a main header is held to all that OpenJPEG asks of it.
    """
    start, stated = (0, b"") if content.startswith(_START) else _codestream(content)
    if content[start : start + 4] != _START:
        raise ValueError(NOT_READABLE)
    image, tiles = _sizes(content, start + 4)
    if stated and stated != struct.pack(">II", image.height, image.width):
        raise ValueError(NOT_READABLE)
    position, kinds = _end_of_header(content, start + 4 + number(content, start + 4, 2, "big"), _TILE_PART, image)
    if not kinds >= {_CODING, _QUANTIZATION} or _LENGTHS in kinds:
        raise ValueError(NOT_READABLE)
    found = set()
    while number(content, position, 2, "big") == 0xFF00 + _TILE_PART:
        found.add(number(content, position + 4, 2, "big"))
        length = number(content, position + 6, 4, "big")
        end = position + length if length else content.rfind(_END)  # the last part may leave its length open
        if not _end_of_header(content, position + 12, _DATA, image)[0] < end <= len(content):
            raise ValueError(CUT_SHORT)
        position = end
    if len(found) < tiles or content[position : position + 2] != _END:
        raise ValueError(CUT_SHORT)
    return image.width, image.height


def _codestream(content: bytes) -> tuple[int, bytes]:
    """Return where the codestream starts, and the height and width that are stated before it."""
    stated = b""
    for box in boxes(content, 0, len(content)):
        if box.kind == b"jp2h":
            for inner in boxes(content, box.start, box.end):
                _check_colors(content, inner)
                if inner.kind == b"ihdr":
                    stated = content[inner.start : inner.start + 8]
        if box.kind == b"jp2c":
            return box.start, stated
    raise ValueError(CUT_SHORT)


def _check_colors(content: bytes, box: Box) -> None:
    """Refuse a palette of many components, each of which becomes a plane of pixels, and colors that OpenCV misreads."""
    if box.kind == b"pclr" and number(content, box.start + 2, 1) > 4:
        raise unread("a palette of more than 4 components")
    is_listed = box.kind == b"colr" and number(content, box.start, 1) == 1
    if is_listed and number(content, box.start + 3, 4, "big") == _SYCC:
        raise unread("a JPEG 2000 of sYCC colors")


def _sizes(content: bytes, start: int) -> tuple[_Image, int]:
    """Return the image's size and the number of tiles."""
    width, height, left, top, across, down, tile_left, tile_top = (
        number(content, place, 4, "big") for place in range(start + 4, start + 36, 4)
    )
    length, count = number(content, start, 2, "big"), number(content, start + 36, 2, "big")
    components = content[start + 38 : start + length]
    if not across or not down or len(components) != 3 * count:
        raise ValueError(NOT_READABLE)
    is_offset = left or top or tile_left or tile_top
    if not 1 <= count <= 4 or {*components[1::3], *components[2::3]} != {1} or max(components[::3]) > 30 or is_offset:
        raise unread("a JPEG 2000 of more than 4 components, of subsampled ones, or with an offset")
    tiles = -(-width // across) * -(-height // down)
    if tiles > min(_FREE_TILES + width * height // _PIXELS_PER_TILE, _MOST_TILES):
        raise ValueError(f"{tiles:,} tiles, which take too much memory")
    return _Image(width, height, count), tiles


def _end_of_header(content: bytes, position: int, until: int, image: _Image) -> tuple[int, set[int]]:
    """Return where the marker is that ends a header, and the kinds of those before it, which are checked."""
    kinds = set()
    while number(content, position, 2, "big") != 0xFF00 + until:
        kind, length = number(content, position + 1, 1), number(content, position + 2, 2, "big")
        if content[position : position + 1] != b"\xff" or length < 2:
            raise ValueError(NOT_READABLE if position + 3 < len(content) else CUT_SHORT)
        _check_segment(kind, content[position + 4 : position + 2 + length], image)
        kinds.add(kind)
        position += 2 + length
    return position, kinds


def _check_segment(kind: int, segment: bytes, image: _Image) -> None:
    """Refuse what is wrong or costs much; other kinds are rare, or let a decoder pass over everything many times."""
    if kind in (_CODING_OF_COMPONENT, _QUANTIZATION_OF_COMPONENT):
        component, segment = number(segment, 0, 1), segment[1:]
        if component >= image.components:
            raise ValueError(NOT_READABLE)
    if kind == _CODING:
        _check_order(segment[1:5])
        _check_style(segment[:1] + segment[5:], image)
    elif kind == _CODING_OF_COMPONENT:
        _check_style(segment, image)
    elif kind in (_QUANTIZATION, _QUANTIZATION_OF_COMPONENT):
        kind_of_steps, steps = number(segment, 0, 1) & 31, len(segment) - 1
        if steps < 1 or kind_of_steps > 2 or (kind_of_steps == 1 and steps != 2) or (kind_of_steps == 2 and steps % 2):
            raise ValueError(NOT_READABLE)
    elif kind not in (_LENGTHS, _COMMENT):
        raise unread(f"a JPEG 2000 with a marker {kind:X}")


def _check_order(segment: bytes) -> None:
    """Check the order of packets, the number of layers, and whether colors are transformed."""
    layers = number(segment, 1, 2, "big")
    if len(segment) < 4 or segment[0] > 4 or segment[3] > 1 or not layers:
        raise ValueError(NOT_READABLE)
    if layers > _MOST_LAYERS:
        raise ValueError(f"{layers:,} layers, which take too much memory")


def _check_style(style: bytes, image: _Image) -> None:
    """Refuse code blocks and precincts of few pixels.

    Args:
        style: a bit for precincts and two more, the number of times that the resolution is halved, width and height of
            code blocks, their coding, the transform, and the sizes of precincts, if any, from the lowest resolution on.
        image: the size of the image.
    """
    if len(style) < 6:
        raise ValueError(NOT_READABLE)
    flags, halvings, across, down, coding, transform, *precincts = style
    if flags > 7 or halvings > 32 or across + down > 8 or coding > 63 or transform > 1:
        raise ValueError(NOT_READABLE)
    if len(precincts) != (halvings + 1 if flags & 1 else 0) or any(
        not size & 15 or size < 16 for size in precincts[1:]
    ):
        raise ValueError(NOT_READABLE)
    if across + down + 4 < _LEAST_BLOCK:
        raise ValueError("code blocks of few pixels, which take too much memory")
    count = sum(
        _halved(image.width, times + (size & 15)) * _halved(image.height, times + (size >> 4))
        for times, size in zip(range(halvings, -1, -1), precincts, strict=False)
    )
    if count > _FREE_PRECINCTS + image.width * image.height // _PIXELS_PER_PRECINCT:
        raise ValueError(f"{count:,} precincts, which take too much memory")


def _halved(length: int, times: int) -> int:
    return -(-length >> times)
