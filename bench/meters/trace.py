"""A quantity that was sampled over time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Trace"]


@dataclass(frozen=True, slots=True)
class Trace:
    """Samples, between which the quantity is taken to change linearly, and before and after which it stays.

    So the integrals over the parts of a window add up to the integral over the window, wherever it is cut.

    Attributes:
        times: when they were taken, in seconds, ascending.
        values: the samples.
    """

    times: NDArray[np.float64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, samples: Iterable[tuple[float, float]]) -> Trace:
        """Make a trace of pairs of a time and a value."""
        pairs = np.array(list(samples), dtype=np.float64).reshape(-1, 2)
        return cls(pairs[:, 0], pairs[:, 1])

    def integral(self, start: float, end: float) -> float | None:
        """Return the integral from a time to another, or None without samples."""
        if not len(self.times):
            return None
        inside = self.times[(self.times > start) & (self.times < end)]
        knots = np.concatenate([[start], inside, [end]])
        heights = np.interp(knots, self.times, self.values)
        return float(np.sum((heights[1:] + heights[:-1]) / 2 * np.diff(knots)))

    def mean(self, start: float, end: float) -> float | None:
        """Return the mean from a time to a later one, or None without samples."""
        integral = self.integral(start, end)
        return None if integral is None else integral / (end - start)
