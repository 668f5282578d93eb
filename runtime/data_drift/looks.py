"""What can be measured of a crop without a model, in a tenth of a millisecond."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.runtime.data_drift.quantities import PIXEL_QUANTITIES
from reid.runtime.quality import halved, sampled, sharpness_of

__all__ = ["look"]

_FLAT = 2.0
"""Standard deviation of gray levels below which a row or a column is flat: what fills a letterbox, and no picture."""


def look(crop: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Measure a crop.

    Args:
        crop: uint8 RGB [h, w, 3].

    Returns:
        A value for each of PIXEL_QUANTITIES, float64.
    """
    height, width = crop.shape[:2]
    pixels = sampled(crop)
    gray = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    small = halved(gray)
    red, green, blue, _ = cv2.mean(pixels)
    values = {
        "size": math.log(min(height, width)),
        "shape": math.log(width / height),
        "sharpness": math.log1p(sharpness_of(small)),
        "detail": math.log1p(sharpness_of(gray)),
        "brightness": (0.299 * red + 0.587 * green + 0.114 * blue) / 255,
        "color": (red - blue) / 255,
        "edges": _edges(small),
        "border": _flat_border(small),
    }
    return np.array([values[name] for name in PIXEL_QUANTITIES])


def _edges(gray: NDArray[np.uint8]) -> float:
    """Return the logarithm of how much stronger horizontal edges are than vertical ones, the crop made square."""
    across, down = (cv2.norm(cv2.Sobel(gray, cv2.CV_16S, *step), cv2.NORM_L1) for step in ((1, 0), (0, 1)))
    return math.log((down + 1) / (across + 1))


def _flat_border(gray: NDArray[np.uint8]) -> float:
    """Return the share of rows or columns that are flat, counted inward from each side; the larger of both."""
    values = gray.astype(np.float32)
    return max(_flat_ends(values.std(axis=1)), _flat_ends(values.std(axis=0)))


def _flat_ends(deviations: NDArray[np.float32]) -> float:
    textured = np.flatnonzero(deviations >= _FLAT)
    inner = textured[-1] + 1 - textured[0] if textured.size else 0
    return 1.0 - float(inner) / len(deviations)
