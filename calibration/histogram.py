"""How a tensor's values are spread, collected batch by batch in memory that does not grow."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "LEVELS", "Histogram"]

BINS = 1 << 15
"""At least 128 of them lie within one step of INT8, unless the range is clipped."""

LEVELS = 127
"""Symmetric INT8 has the levels -127 to 127."""

_LEAST_EXPONENT = -100
"""Of the range, which is a power of two: what is below 2^-100 / BINS is counted as if it were 0 < x < that."""


@dataclass(slots=True)
class Histogram:
    """Counts of the absolute values other than 0.

    Bins are equally wide. Their range starts small and doubles, two bins becoming one, until a larger value fits; as it
    is always a power of two, the counts do not depend on the order of the values or on how these were batched.

    Zeros are counted apart: every scale represents them exactly, and behind a ReLU there are so many that what they
    hide is the rest. So all shares and percentiles here are of the values that are not 0.

    Attributes:
        peak: largest absolute value.
        zeros: how many values are 0.
        counts: int64 [BINS]; the first bin starts at 0.
        exponent: the last bin ends at 2^exponent.
    """

    peak: float = 0.0
    zeros: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    exponent: int = _LEAST_EXPONENT

    @property
    def width(self) -> float:
        """Of a bin."""
        return math.ldexp(1, self.exponent) / BINS

    @property
    def used(self) -> int:
        """Number of bins up to the last that is not empty."""
        return int(np.flatnonzero(self.counts)[-1]) + 1 if self.counts.any() else 0

    def add(self, values: NDArray[np.float32]) -> bool:
        """Count more values, of any shape; none, and give False, where one is not finite."""
        magnitudes = np.abs(values).ravel()
        peak = float(magnitudes.max(initial=0))
        if not math.isfinite(peak):
            return False
        if peak > 0:
            self._widen(math.frexp(peak)[1])
        self.peak = max(self.peak, peak)
        zeros = magnitudes.size - int(np.count_nonzero(magnitudes))
        self.zeros += zeros
        # By a power of two, so that the product is exact and no value comes to lie in another bin by rounding.
        indices = (magnitudes * np.float32(1 / self.width)).astype(np.intp)
        self.counts += np.bincount(indices, minlength=BINS)
        self.counts[0] -= zeros
        return True

    def share_above(self, threshold: float) -> float:
        """Share of the values other than 0 that are above `threshold`; within a bin they count as spread evenly."""
        total = int(self.counts.sum())
        if total == 0 or threshold >= self.peak:
            return 0.0
        edges = np.arange(BINS + 1) * self.width
        below = np.interp(threshold, edges, np.concatenate(([0], np.cumsum(self.counts))))
        return float(1 - below / total)

    def squared_errors(self, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean squared error of rounding to INT8 and clipping, relative to the mean square, float64 [k].

        Values count as the centers of their bins. Per level, the error is the sum of x^2 - 2 level x + level^2 over the
        values that are rounded to it, which cumulative sums give without a loop over bins.

        Args:
            thresholds: positive, float64 [k].
        """
        steps = thresholds[:, None] / self.width / LEVELS  # from here on, the unit is a bin's width
        levels = steps * np.arange(LEVELS + 1)
        first = np.ceil(np.minimum(steps * (np.arange(LEVELS + 2) - 0.5), BINS) - 0.5).astype(np.intp)
        first[:, 0], first[:, -1] = 0, BINS
        centers = np.arange(BINS) + 0.5
        below = [np.concatenate(([0.0], np.cumsum(self.counts * centers**power))) for power in (0, 1, 2)]
        number, total = np.diff(below[0][first]), np.diff(below[1][first])
        errors = below[2][-1] - 2 * (levels * total).sum(axis=1) + (levels**2 * number).sum(axis=1)
        return np.asarray(np.maximum(errors, 0) / below[2][-1])

    def _widen(self, exponent: int) -> None:
        doublings = max(exponent - self.exponent, 0)
        merged = self.counts.reshape(-1, min(1 << doublings, BINS)).sum(axis=1)
        self.counts = np.concatenate((merged, np.zeros(BINS - len(merged), np.int64)))
        self.exponent += doublings
