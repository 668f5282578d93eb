"""JPEG."""

from __future__ import annotations

import re

from reid.runtime.image_headers.fields import CUT_SHORT, number

__all__ = ["jpeg_size"]

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
"""A marker that starts a segment or ends the image, but not the escapes and restarts inside a scan."""

_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers whose segment gives the size: SOF0 to SOF15."""

_SCAN, _END = 0xDA, 0xD9

_MOST_SEGMENTS = 100_000
"""An encoder that writes small ones needs some 10,000."""

_MOST_SCANS = 100
"""Every scan of a progressive JPEG passes over all pixels again; encoders write about ten."""


def jpeg_size(content: bytes) -> tuple[int, int]:
    """Walk from segment to segment, so that neither the end of an embedded thumbnail nor trailing bytes mislead."""
    sizes = [(0, 0)]
    scans, position = 0, 2
    for _ in range(_MOST_SEGMENTS):
        marker = _MARKER.search(content, position)
        if marker is None:
            raise ValueError(CUT_SHORT)
        kind, position = marker[1][0], marker.end()
        if kind == _END:
            return max(sizes, key=lambda size: size[0] * size[1])
        if kind in _SIZES:
            sizes.append((number(content, position + 5, 2, "big"), number(content, position + 3, 2, "big")))
        scans += kind == _SCAN
        if scans > _MOST_SCANS:
            raise ValueError(f"more than {_MOST_SCANS} scans, which take too long to decode")
        position += number(content, position, 2, "big")
    raise ValueError(f"more than {_MOST_SEGMENTS:,} segments, which take too long to read")
