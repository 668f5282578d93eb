"""Small JPEG pictures that a page can embed."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2

from reid.runtime.imaging import read_frame
from reid.runtime.tracklet import Frame

__all__ = ["Thumbnail", "thumbnail"]

_LONGER_SIDE = 128
_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


def thumbnail(frame: Frame) -> Thumbnail:
    """Shrink a frame to at most 128 pixels on its longer side. Raises DataError if it cannot be read."""
    image = read_frame(frame)
    height, width = image.shape[:2]
    scale = min(1.0, _LONGER_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Unlike the model's input, a picture for people is averaged over the pixels that are dropped.
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode('ascii')}", *size)
