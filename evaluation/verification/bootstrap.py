"""How much of a difference between two models is due to the choice of queries: the paired bootstrap (Efron, 1979)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["paired_interval"]


def paired_interval(
    differences: NDArray[np.float64], *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of the mean difference if the queries were drawn again from their population.

    Paired: a query is drawn with both models' results, so that hard and easy queries do not widen the interval.

    Args:
        differences: the difference of each query, float64 [Q]; Q at least 1.
        resamples: the number of resamples, of Q queries each, drawn with replacement.
        confidence: the confidence, from 0 to 1.
        seed: the seed of the draws.
    """
    random = np.random.default_rng(seed)
    count = len(differences)
    # One at a time: memory does not grow with queries x resamples.
    means = [float(differences[random.integers(count, size=count)].mean()) for _ in range(resamples)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, (tail, 1 - tail)).tolist()
    return low, high
