"""TIFF and BigTIFF, of which the first image is decoded."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.files.reading import MEBIBYTE
from reid.runtime.image_headers.fields import CUT_SHORT, NOT_READABLE, Order, number, unread

__all__ = ["tiff_size"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLORS, _SAMPLES, _ROWS, _PLANES = 256, 257, 258, 259, 262, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_STRIP_OFFSETS, _STRIP_SIZES, _TILE_OFFSETS, _TILE_SIZES = 273, 279, 324, 325

_PLAIN, _YCBCR, _SEPARATE, _ALL_ROWS = 1, 6, 2, (1 << 32) - 1
_COMPRESSIONS = frozenset({_PLAIN, 2, 3, 4, 5, 7, 8, 32773, 32946})
"""Not compressed, CCITT (three kinds), LZW, JPEG, Deflate, PackBits, Deflate again."""

_UNSIGNED = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 11: 4, 13: 4}
"""The size of a value, by its type; of all others, 8."""

_MOST_ENTRIES = 1000
_FREE_PARTS, _PIXELS_PER_PART = 4096, 1024
"""For each strip or tile, libtiff makes tables of up to 65,536 entries."""

_Values: TypeAlias = NDArray[np.unsignedinteger[Any]]


def tiff_size(content: bytes) -> tuple[int, int]:
    """Read the entries that say where the pixels are, and see that all are there, and once.

    libtiff fills what is missing with black. It keeps the values of every entry, though all may share one megabyte, and
    a whole strip or tile, though few of its pixels may be in the image.
    """
    entries = _first_directory(content)
    width, height, samples = _value(entries, _WIDTH), _value(entries, _HEIGHT), _value(entries, _SAMPLES, 1)
    bits, compression = _value(entries, _BITS, 1), _value(entries, _COMPRESSION, _PLAIN)
    if samples > 4 or bits > 16:
        raise unread(f"a TIFF of {samples} samples of {bits} bits")
    if compression not in _COMPRESSIONS:
        raise unread(f"a TIFF of compression {compression}")
    if compression == _PLAIN and _is_tiled(entries):  # OpenCV takes the size of such a tile for wrong
        raise unread("a TIFF of tiles without compression")
    offsets, sizes = _parts(entries, width, height, samples)
    if not sizes.all() or np.any(offsets.astype(np.float64) + sizes > len(content)):
        raise ValueError(CUT_SHORT)
    total = float(sizes.sum(dtype=np.float64))
    if total > len(content):
        raise ValueError("strips or tiles that overlap, which take too long to read")
    is_plain = compression == _PLAIN and _value(entries, _COLORS) != _YCBCR  # of which some samples are left out
    if is_plain and total < (width * samples * bits + 7) // 8 * height:
        raise ValueError(CUT_SHORT)
    return width, height


def _first_directory(content: bytes) -> dict[int, _Values]:
    """Return the values of the entries that are unsigned integers, by tag."""
    order: Order = "little" if content.startswith(b"I") else "big"
    size = 8 if number(content, 2, 2, order) == 43 else 4  # of offsets: a BigTIFF has longer ones
    directory, counted = number(content, size, size, order), 8 if size == 8 else 2
    count, first, length = number(content, directory, counted, order), directory + counted, 4 + 2 * size
    if directory < 8:
        raise ValueError(NOT_READABLE)
    if count > _MOST_ENTRIES:
        raise ValueError(f"more than {_MOST_ENTRIES:,} entries, which take too long to read")
    if first + count * length > len(content):
        raise ValueError(CUT_SHORT)
    entries: dict[int, _Values] = {}
    total = 0
    for place in range(first, first + count * length, length):
        tag, kind = number(content, place, 2, order), number(content, place + 2, 2, order)
        values, at = number(content, place + 4, size, order), place + 4 + size
        extent = values * _VALUE_BYTES.get(kind, 8)
        if extent > size:
            at, total = number(content, at, size, order), total + extent
        if at + extent > len(content):
            raise ValueError(CUT_SHORT)
        if total > len(content) or tag in entries:
            raise ValueError("entries that overlap, which may take gigabytes of memory")
        if kind in _UNSIGNED:
            entries[tag] = np.frombuffer(content, np.dtype(_UNSIGNED[kind]).newbyteorder(order), values, at)
    return entries


def _parts(entries: dict[int, _Values], width: int, height: int, samples: int) -> tuple[_Values, _Values]:
    """Return where the strips or tiles are, and how many bytes each has."""
    across, down, tags = width, _value(entries, _ROWS, _ALL_ROWS), (_STRIP_OFFSETS, _STRIP_SIZES)
    down = height if down == _ALL_ROWS else down
    if _is_tiled(entries):
        across, down, tags = _value(entries, _TILE_WIDTH), _value(entries, _TILE_HEIGHT), (_TILE_OFFSETS, _TILE_SIZES)
    if not (width and height and samples and across and down) or not set(tags) <= entries.keys():
        raise ValueError(NOT_READABLE)
    columns, rows = -(-width // across), -(-height // down)
    if columns * across * rows * down > 4 * width * height + MEBIBYTE:
        raise ValueError(f"strips or tiles of {across:,} x {down:,} pixels in an image of {width:,} x {height:,}")
    count = columns * rows * (samples if _value(entries, _PLANES, 1) == _SEPARATE else 1)
    if count > _FREE_PARTS + width * height // _PIXELS_PER_PART:
        raise ValueError(f"{count:,} strips or tiles, which take too long to decode")
    offsets, sizes = (entries[tag][:count] for tag in tags)
    if min(len(offsets), len(sizes)) < count:
        raise ValueError(CUT_SHORT)
    return offsets, sizes


def _is_tiled(entries: dict[int, _Values]) -> bool:
    return _TILE_WIDTH in entries or _TILE_HEIGHT in entries


def _value(entries: dict[int, _Values], tag: int, default: int = 0) -> int:
    """Return an entry's only or largest value."""
    return int(entries[tag].max(initial=0)) if tag in entries else default
