"""Decode and resize crops: the one definition that training, export and inference share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError

if TYPE_CHECKING:
    from reid.runtime.tracklet import Frame

__all__ = ["IMAGE_SUFFIXES", "decode", "is_image", "read_frame", "resize"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})

_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
"""A marker that starts a segment or ends the image, but not the escapes and restarts inside a scan."""


def is_image(path: Path) -> bool:
    """Return whether a file's name has an image's suffix and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_frame(frame: Frame) -> NDArray[np.uint8]:
    """Return a frame's pixels, uint8 RGB [H, W, 3]. Raises DataError if the file cannot be read."""
    if isinstance(frame, np.ndarray):
        return frame
    try:
        content = frame.read_bytes()
    except OSError as error:
        raise DataError(f"{frame}: {error.strerror}") from None
    return decode(content, frame)


def decode(content: bytes, name: object) -> NDArray[np.uint8]:
    """Decode an image file's bytes to uint8 RGB [H, W, 3], upright.

    Raises:
        DataError: the file is empty, not an image, or cut short. Decoders fill the missing part of a truncated file
            with gray and only print a warning, so the end of the image is looked for here.
    """
    if not content:
        raise DataError(f"{name}: the file is empty")
    if _is_cut_short(content):
        raise DataError(f"{name}: the image is cut short")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{name}: not a readable image")
    return _as_uint8(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _is_cut_short(content: bytes) -> bool:
    if content.startswith(b"\xff\xd8"):
        return not _has_jpeg_end(content)
    if content.startswith(b"\x89PNG"):
        return content.rfind(b"IEND") < 0
    if content.startswith(b"RIFF"):
        return len(content) < 8 + int.from_bytes(content[4:8], "little")
    return False


def _has_jpeg_end(content: bytes) -> bool:
    """Walk from segment to segment, so that neither the end of an embedded thumbnail nor trailing bytes mislead."""
    position = 2
    while marker := _JPEG_MARKER.search(content, position):
        if marker[1] == b"\xd9":
            return True
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return False


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to [height, width, 3]: bilinear, half-pixel centers, no antialiasing."""
    return _as_uint8(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def _as_uint8(image: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - OpenCV's stubs say "some array"
    return np.asarray(image, dtype=np.uint8)
