"""How good a crop is: large, sharp and whole. It costs less than 0.1 ms, so every crop of a camera can be judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError

__all__ = ["Box", "Quality", "assess", "halved", "reason_to_refuse", "sampled", "sharpness_of", "weight"]

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""

FEWEST_PIXELS, ENOUGH_PIXELS = 24, 96
"""Pixels of a crop's shorter side: below the first it is refused, from the second on it has its whole weight."""

LEAST_SHARPNESS, ENOUGH_SHARPNESS = 40.0, 400.0
"""Sharpness, below and from which the same holds. Defocused crops of vehicles have less than 40, sharp ones 500."""

MOST_CUT_SIDES = 1
"""Sides at which a crop may be cut off and still be admitted: at two, a corner of the vehicle is what is left."""

_LEAST_WEIGHT = 0.01

_SIDE = 64
"""Pixels of the square at which sharpness is measured, whatever the crop's size."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What can be seen of a crop without a model.

    Attributes:
        pixels: the shorter side of the crop.
        sharpness: the variance of the Laplacian of the crop's gray levels, 0 to 255, at 64 x 64 pixels.
        cut_sides: the number of sides at which the box reaches the picture's border, 0 to 4: the vehicle goes on there.
    """

    pixels: int
    sharpness: float
    cut_sides: int = 0

    @property
    def weight(self) -> float:
        """What the crop counts in its tracklet's mean: the product of a share for each attribute, 0.01 to 1.

        It is never 0: a track of nothing but bad crops has an embedding, too.
        """
        size = min(self.pixels / ENOUGH_PIXELS, 1.0)
        sharpness = min(self.sharpness / ENOUGH_SHARPNESS, 1.0)
        return float(max(size * sharpness**0.5 * 0.5**self.cut_sides, _LEAST_WEIGHT))


def assess(crop: NDArray[np.uint8], box: Box | None = None, picture_size: tuple[int, int] | None = None) -> Quality:
    """Judge a crop.

    Args:
        crop: uint8 RGB [h, w, 3].
        box: where the crop was cut from its picture; None if that is unknown, and so whether it was cut off.
        picture_size: width and height of the picture; given if `box` is.

    Raises:
        DataError: the crop is of another type or shape, or empty.
    """
    if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3 or crop.size == 0:
        raise DataError(f"the crop is {crop.dtype} {list(crop.shape)}, expected uint8 [h, w, 3]: cut it from a picture")
    if (box is None) != (picture_size is None):
        raise ValueError("give the box and the size of its picture together, or neither")
    cut_sides = 0 if box is None or picture_size is None else _cut_sides(box, picture_size)
    return Quality(min(crop.shape[:2]), _sharpness(crop), cut_sides)


def weight(crop: NDArray[np.uint8], box: Box | None = None, picture_size: tuple[int, int] | None = None) -> float:
    """Return what a crop counts in its tracklet's mean, 0.01 to 1; the arguments are those of `assess`."""
    return assess(crop, box, picture_size).weight


def reason_to_refuse(quality: Quality) -> str | None:
    """Return why a crop should not go into a gallery, in a few words; None if it may."""
    if quality.pixels < FEWEST_PIXELS:
        return f"{quality.pixels} pixels on its shorter side, fewer than {FEWEST_PIXELS}"
    if quality.sharpness < LEAST_SHARPNESS:
        return f"sharpness {quality.sharpness:.1f}, below {LEAST_SHARPNESS:g}"
    if quality.cut_sides > MOST_CUT_SIDES:
        return f"cut off at {quality.cut_sides} sides of the picture"
    return None


def _cut_sides(box: Box, picture_size: tuple[int, int]) -> int:
    left, top, width, height = box
    return sum((left <= 0, top <= 0, left + width >= picture_size[0], top + height >= picture_size[1]))


def sampled(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a crop at 128 x 128 pixels, whatever its size: what is measured on it takes as long for a large crop."""
    return np.asarray(cv2.resize(crop, (2 * _SIDE, 2 * _SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)


def halved(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the gray levels of `sampled`, uint8 [128, 128], at 64 x 64 pixels."""
    return np.asarray(cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def sharpness_of(gray: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of gray levels (Pech-Pacheco et al., ICPR 2000)."""
    _, deviation = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S))
    return float(deviation[0, 0]) ** 2


def _sharpness(crop: NDArray[np.uint8]) -> float:
    return sharpness_of(halved(np.asarray(cv2.cvtColor(sampled(crop), cv2.COLOR_RGB2GRAY), np.uint8)))
