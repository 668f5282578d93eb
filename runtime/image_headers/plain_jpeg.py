"""JPEG files whose pixels decoders have little to disagree about, and that those of GPUs take."""

from __future__ import annotations

from reid.runtime.image_headers.fields import number

__all__ = ["plain_jpeg_size"]

_BASELINE, _SCAN, _EXIF, _ADOBE = 0xC0, 0xDA, 0xE1, 0xEE
_NO_SEGMENT = frozenset({0x00, 0x01, *range(0xD0, 0xDA), 0xFF})
"""What follows 0xFF where there is no segment: escapes, restarts, begin and end, and filling."""

_MOST_SEGMENTS = 64
"""In front of the pixels, where a plain file has about eight."""

_SAMPLINGS = frozenset({0x11, 0x21, 0x12, 0x22})
"""Samples of Y for one of Cb and Cr, across and down: 4:4:4, 4:2:2, 4:4:0, 4:2:0."""


def plain_jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Return the width and height of a plain JPEG; None for every other file.

    Plain is a baseline JPEG of 8 bits whose components are Y, Cb and Cr in one of the usual samplings. What could make
    decoders disagree is left out: Exif data, which may turn the image, and Adobe's marker, which may name other colors.
    """
    position = 2 if content.startswith(b"\xff\xd8") else len(content)
    size = None
    for _ in range(_MOST_SEGMENTS):
        if len(content) < position + 4 or content[position] != 0xFF:
            return None
        kind, start, length = content[position + 1], position + 4, number(content, position + 2, 2, "big")
        if kind == _SCAN:
            return size
        if kind in _NO_SEGMENT or kind == _ADOBE or (kind == _EXIF and content.startswith(b"Exif", start)):
            return None
        if 0xC0 <= kind <= 0xCF and kind != 0xC4:  # a frame, but for Huffman's tables
            if kind != _BASELINE or size is not None:
                return None
            size = _size_of_frame(content[start : start + max(0, length - 2)])
            if size is None:
                return None
        position += 2 + length
    return None


def _size_of_frame(frame: bytes) -> tuple[int, int] | None:
    """Return the width and height in a frame's segment: bits, height, width, components."""
    height, width = number(frame, 1, 2, "big"), number(frame, 3, 2, "big")
    is_usual = len(frame) == 15 and frame[0] == 8 and frame[5] == 3 and frame[6::3] == b"\1\2\3"
    if not (is_usual and frame[7] in _SAMPLINGS and frame[10] == frame[13] == 0x11 and height and width):
        return None
    return width, height
