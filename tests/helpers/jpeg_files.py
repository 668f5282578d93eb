"""JPEG files of many kinds, and segments put into them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["jpeg", "picture", "turned", "with_segment"]


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return smooth colors, uint8 RGB [height, width, 3]."""
    colors = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(colors, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def jpeg(pixels: NDArray[np.uint8], *options: int) -> bytes:
    """Return RGB or gray pixels as a JPEG file, written with OpenCV's options."""
    found, content = cv2.imencode(".jpg", pixels[..., ::-1] if pixels.ndim == 3 else pixels, [*options])
    assert found
    return content.tobytes()


def with_segment(content: bytes, marker: int, segment: bytes) -> bytes:
    """Return a JPEG file with a segment right after its beginning."""
    return content[:2] + bytes([0xFF, marker]) + (len(segment) + 2).to_bytes(2, "big") + segment + content[2:]


def turned(content: bytes, orientation: int) -> bytes:
    """Return a JPEG file with Exif data that says how it is to be turned."""
    entry = b"\x12\x01\x03\x00\x01\x00\x00\x00" + orientation.to_bytes(2, "little") + b"\x00\x00"
    return with_segment(content, 0xE1, b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00" + entry + bytes(4))
