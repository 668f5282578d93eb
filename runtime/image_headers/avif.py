"""AVIF: boxes that list items, among them AV1 images: the image or its tiles, its opacity, smaller copies."""

from __future__ import annotations

from collections.abc import Iterator

from reid.runtime.files.reading import MEBIBYTE
from reid.runtime.image_headers.av1 import av1_size
from reid.runtime.image_headers.boxes import Box, boxes
from reid.runtime.image_headers.fields import CUT_SHORT, NOT_READABLE, number, unread

__all__ = ["avif_size"]

_LISTS = frozenset({b"pitm", b"iinf", b"iloc", b"iprp"})
"""What says which item is the image, of what kinds they are, where their data are, and how large they are."""

_MOST_IMAGES = 256


def avif_size(content: bytes) -> tuple[int, int]:
    """Read the list of items, and see that the images among them are as large as it says, and not many times the image.

    libavif believes the list until an image is decoded.
    """
    outer = _each_once(content, 0, len(content), b"ftyp", b"meta", b"moov")
    if b"moov" in outer:
        raise unread("an AVIF sequence")
    if b"meta" not in outer or b"avif" not in content[outer[b"ftyp"].start : outer[b"ftyp"].end]:
        raise ValueError(NOT_READABLE)
    meta = _each_once(content, outer[b"meta"].start + 4, outer[b"meta"].end, *_LISTS, b"idat")
    if not meta.keys() >= _LISTS:
        raise ValueError(NOT_READABLE)
    primary = _Fields(content, meta[b"pitm"])
    width, height = (sizes := _sizes(content, meta[b"iprp"])).get(primary.take(2 + 2 * (primary.version > 0)), (0, 0))
    kinds, data = _kinds(content, meta[b"iinf"]), _data(content, meta)
    images = [name for name, kind in kinds.items() if kind == b"av01"]
    if len(images) > _MOST_IMAGES:
        raise ValueError(f"{len(images):,} images, more than {_MOST_IMAGES}, which take too long to decode")
    for name in images:
        if av1_size(data.get(name, b"")) != sizes.get(name):
            raise ValueError("an image that has another size than it says")
    if sum(sizes[name][0] * sizes[name][1] for name in images) > 4 * width * height + MEBIBYTE:
        raise ValueError(f"images of more pixels than an image of {width:,} x {height:,} can need")
    return width, height


class _Fields:
    """The integers in a box, one after the other, behind its version and flags."""

    def __init__(self, content: bytes, box: Box) -> None:
        self._content, self.position, self._end = content, box.start, box.end
        self.version, self.flags = self.take(1), self.take(3)

    def take(self, size: int) -> int:
        """Return the next integer, of so many bytes."""
        self.position += size
        if self.position > self._end:
            raise ValueError(CUT_SHORT)
        return number(self._content, self.position - size, size, "big")


def _each_once(content: bytes, start: int, end: int, *kinds: bytes) -> dict[bytes, Box]:
    """Return the boxes of some kinds, none of which may occur twice."""
    found: dict[bytes, Box] = {}
    for box in boxes(content, start, end):
        if box.kind in found:
            raise ValueError(NOT_READABLE)
        if box.kind in kinds:
            found[box.kind] = box
    return found


def _kinds(content: bytes, box: Box) -> dict[int, bytes]:
    """Return the items' kinds, by their numbers."""
    fields = _Fields(content, box)
    fields.take(4 if fields.version else 2)
    kinds: dict[int, bytes] = {}
    for inner in boxes(content, fields.position, box.end):
        item = _Fields(content, inner)
        name = item.take(4 if item.version > 2 else 2)
        if name in kinds:
            raise ValueError(NOT_READABLE)
        kinds[name] = item.take(6).to_bytes(6, "big")[2:]  # behind what protects it
    return kinds


def _sizes(content: bytes, box: Box) -> dict[int, tuple[int, int]]:
    """Return the items' sizes, by their numbers."""
    sizes: dict[int, tuple[int, int]] = {}
    properties: list[Box] = []
    for inner in boxes(content, box.start, box.end):
        if inner.kind == b"ipco":
            properties += boxes(content, inner.start, inner.end)
        elif inner.kind == b"ipma":
            for name, place in _associations(content, inner):
                if 0 < place <= len(properties) and properties[place - 1].kind == b"ispe":
                    size = _Fields(content, properties[place - 1])
                    sizes.setdefault(name, (size.take(4), size.take(4)))
    return sizes


def _associations(content: bytes, box: Box) -> Iterator[tuple[int, int]]:
    """Yield items' numbers with the places of their properties."""
    fields = _Fields(content, box)
    for _ in range(fields.take(4)):
        name = fields.take(4 if fields.version else 2)
        for _ in range(fields.take(1)):
            yield name, fields.take(2) & 0x7FFF if fields.flags & 1 else fields.take(1) & 0x7F


def _data(content: bytes, meta: dict[bytes, Box]) -> dict[int, bytes]:
    """Return the items' data, by their numbers."""
    fields, total = _Fields(content, meta[b"iloc"]), 0
    data: dict[int, bytes] = {}
    sizes = fields.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    index_size = index_size if fields.version else 0
    for _ in range(fields.take(4 if fields.version > 1 else 2)):
        name = fields.take(4 if fields.version > 1 else 2)
        method = fields.take(2) & 15 if fields.version else 0
        fields.take(2)
        base, parts = fields.take(base_size), []
        for _ in range(fields.take(2)):
            fields.take(index_size)
            offset, length = base + fields.take(offset_size), fields.take(length_size)
            start, end = _place(content, meta, method)
            if start + offset + length > end:
                raise ValueError(CUT_SHORT)
            parts.append(content[start + offset : start + offset + length])
            total += length
            if total > len(content):
                raise ValueError("items that overlap, which may take gigabytes of memory")
        if name in data:
            raise ValueError(NOT_READABLE)
        data[name] = b"".join(parts)
    return data


def _place(content: bytes, meta: dict[bytes, Box], method: int) -> tuple[int, int]:
    """Return between which positions an item's data are: in the file, or in a box of their own."""
    if method == 0:
        return 0, len(content)
    if method == 1 and b"idat" in meta:
        return meta[b"idat"].start, meta[b"idat"].end
    raise ValueError(NOT_READABLE)
