"""Decode and resize crops: the one definition that training, export and inference share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.runtime.environment import environment_integer
from reid.runtime.errors import DataError
from reid.runtime.files.reading import MEBIBYTE, read_file
from reid.runtime.image_headers.reading import ImageHeader, read_header

if TYPE_CHECKING:
    from reid.runtime.model_card import Preprocessing
    from reid.runtime.tracklet import Frame

__all__ = [
    "IMAGE_SUFFIXES",
    "as_model_input",
    "check_image",
    "decode",
    "is_image",
    "pixel_limit",
    "read_frame",
    "read_image",
    "resize",
]

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp"),
        *(".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".pam", ".gif", ".avif", ".jp2", ".j2k", ".ras", ".sr"),
    }
)
"""What an image's name ends in, in lower case; which format it is, its content says."""

_OPTIONAL = {"TIFF": ".tiff", "GIF": ".gif", "AVIF": ".avif", "JPEG 2000": ".jp2"}
"""Formats that OpenCV may be built without, with a name by which it is asked; GIF and AVIF came with 4.12."""

_WEIGHTS = {"JPEG 2000": 8, "AVIF": 4}
"""How many pixels of other formats one pixel may cost, however small the file: 0.6 µs, or 36 bytes while decoding.

So a hostile file of 1 MB costs at most 3 s and 400 MB with the limit's default.
"""

_MOST_PIXELS = 1 << 30
"""What OpenCV decodes at most."""


def pixel_limit() -> int:
    """Return how many pixels an image may have: REID_MAX_PIXELS, or enough for a photo of 24 megapixels.

    Raises:
        ReidError: REID_MAX_PIXELS is no such number. It stops a command, while a DataError leaves a frame out.
    """
    return environment_integer("REID_MAX_PIXELS", default=1 << 25, least=1, most=_MOST_PIXELS)


def is_image(name: str) -> bool:
    """Return whether a file's name has an image's suffix and is not hidden."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def read_frame(frame: Frame) -> NDArray[np.uint8]:
    """Return a frame's pixels, uint8 RGB [H, W, 3]. Raises DataError if the file cannot be read."""
    if isinstance(frame, np.ndarray):
        return frame
    return decode(read_image(frame), frame)


def read_image(path: Path) -> bytes:
    """Return the bytes of an image file: at most 8 for every permitted pixel, and 1 MiB for everything else.

    Raises:
        DataError: the file cannot be read, is no regular file, or is larger.
    """
    most = 8 * pixel_limit() + MEBIBYTE
    try:
        return read_file(path, at_most=most)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def decode(content: bytes, name: object) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to uint8 RGB [H, W, 3], upright.

    Gray, palettes and 16 bits become 8 bits of three colors, opacity is left out, and of several images the first is
    taken.

    Raises:
        DataError: the file is empty, of a format that is not read here or not by the installed OpenCV, cut short, made
            to be slow, or has more pixels than are permitted; all but damage is found before anything is decoded.
    """
    _, width, height = check_image(content, name)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if width * height else None
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{name}: not a readable image")
    return _as_uint8(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def check_image(content: bytes, name: object) -> ImageHeader:
    """Return an image file's format and size, before its orientation is applied, if `decode` may decode it.

    Raises:
        DataError: as `decode` does, for all but damage.
    """
    if not content:
        raise DataError(f"{name}: the file is empty")
    try:
        header = read_header(content)
    except ValueError as reason:
        raise DataError(f"{name}: {reason}") from None
    kind, width, height = header
    if kind in _OPTIONAL and not cv2.haveImageWriter(_OPTIONAL[kind]):
        raise DataError(f"{name}: OpenCV {cv2.__version__} does not decode {kind}; convert the image, e.g. to PNG")
    _check_pixels(name, kind, width, height)
    return header


def _check_pixels(name: object, kind: str, width: int, height: int) -> None:
    limit, weight = pixel_limit(), _WEIGHTS.get(kind, 1)
    if width * height * weight > limit:
        counted = f", which count {weight} times in {kind}" if weight > 1 else ""
        size = f"{width:,} x {height:,} pixels{counted}, more than the {limit:,} of --max-pixels"
        raise DataError(f"{name}: {size}; raise it or shrink the image")


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to [height, width, 3]: bilinear, half-pixel centers, no antialiasing.

    An image of that size is returned as it is, not copied.
    """
    if image.shape[:2] == (height, width):
        return image
    return _as_uint8(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def as_model_input(
    crop: NDArray[np.uint8], preprocessing: Preprocessing, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return a crop as a model takes it: resized, with its channels one after the other.

    Args:
        crop: uint8 RGB [h, w, 3].
        preprocessing: the model's.
        out: uint8 [3, H, W], contiguous, to write to; None for a new array.
    """
    height, width = preprocessing.height, preprocessing.width
    pixels = resize(crop, height, width)
    planes = np.empty((3, height, width), np.uint8) if out is None else out
    for channel in range(3):
        cv2.extractChannel(pixels, channel, planes[channel])
    return planes


def _as_uint8(image: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - OpenCV's stubs say "some array"
    return np.asarray(image, dtype=np.uint8)
