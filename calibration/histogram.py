"""The distribution of a tensor's values, collected batch by batch in constant memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reid.calibration.int8 import INT8_MAX

__all__ = ["BINS", "Histogram"]

BINS = 1 << 15
"""Number of bins: at least 128 of them lie within one INT8 scale, unless the range is clipped."""

_LEAST_EXPONENT = -100
"""Smallest exponent of the range, a power of two: values below 2^-100 / BINS all go into the first bin."""


@dataclass(slots=True)
class Histogram:
    """Counts of the nonzero absolute values.

    All bins have the same width. The range starts small and doubles, merging bins in pairs, until a larger value fits.
    As it is always a power of two, the counts depend neither on the order of the values nor on their batches.

    Zeros are counted separately: every scale represents them exactly, and after a ReLU there are so many that they
    would hide the rest. All fractions and percentiles here are therefore of the nonzero values.

    Attributes:
        amax: the largest absolute value.
        zeros: the number of zeros.
        counts: the number of values in each bin, int64 [BINS]; the first bin starts at 0.
        exponent: the exponent of the range's end: the last bin ends at 2^exponent.
    """

    amax: float = 0.0
    zeros: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    exponent: int = _LEAST_EXPONENT

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1, self.exponent) / BINS

    @property
    def used(self) -> int:
        """Number of bins up to and including the last nonempty one."""
        return int(np.flatnonzero(self.counts)[-1]) + 1 if self.counts.any() else 0

    def add(self, values: NDArray[np.float32]) -> bool:
        """Count more values, of any shape. If one of them is not finite, count none and return False."""
        magnitudes = np.abs(values).ravel()
        amax = float(magnitudes.max(initial=0))
        if not math.isfinite(amax):
            return False
        if amax > 0:
            self._widen(math.frexp(amax)[1])
        self.amax = max(self.amax, amax)
        zeros = magnitudes.size - int(np.count_nonzero(magnitudes))
        self.zeros += zeros
        # The factor is a power of two: the product is exact, and no value lands in another bin by rounding.
        indices = (magnitudes * np.float32(1 / self.width)).astype(np.intp)
        self.counts += np.bincount(indices, minlength=BINS)
        self.counts[0] -= zeros
        return True

    def fraction_above(self, amax: float) -> float:
        """Return the fraction of the nonzero values above `amax`, with the values of a bin spread evenly over it."""
        total = int(self.counts.sum())
        if total == 0 or amax >= self.amax:
            return 0.0
        edges = np.arange(BINS + 1) * self.width
        below = np.interp(amax, edges, np.concatenate(([0], np.cumsum(self.counts))))
        return float(1 - below / total)

    def squared_errors(self, amax: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean squared error of rounding to INT8 and clipping, relative to the mean square, float64 [k].

        Every value counts as the center of its bin. For an integer q, the error is the sum of x^2 - 2 (q scale) x +
        (q scale)^2 over the values that are rounded to q, which cumulative sums give without a loop over bins.

        Args:
            amax: the ranges' ends to try, positive, float64 [k].
        """
        scales = amax[:, None] / self.width / INT8_MAX  # from here on, the unit is a bin's width
        rounded = scales * np.arange(INT8_MAX + 1)
        first = np.ceil(np.minimum(scales * (np.arange(INT8_MAX + 2) - 0.5), BINS) - 0.5).astype(np.intp)
        first[:, 0], first[:, -1] = 0, BINS
        centers = np.arange(BINS) + 0.5
        below = [np.concatenate(([0.0], np.cumsum(self.counts * centers**power))) for power in (0, 1, 2)]
        number, total = np.diff(below[0][first]), np.diff(below[1][first])
        errors = below[2][-1] - 2 * (rounded * total).sum(axis=1) + (rounded**2 * number).sum(axis=1)
        return np.asarray(np.maximum(errors, 0) / below[2][-1])

    def _widen(self, exponent: int) -> None:
        doublings = max(exponent - self.exponent, 0)
        merged = self.counts.reshape(-1, min(1 << doublings, BINS)).sum(axis=1)
        self.counts = np.concatenate((merged, np.zeros(BINS - len(merged), np.int64)))
        self.exponent += doublings
