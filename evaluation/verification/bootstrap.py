"""How much of a difference between two models is due to the choice of queries: the paired bootstrap (Efron, 1979)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["paired_interval"]


def paired_interval(
    differences: NDArray[np.float64], *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> NDArray[np.float64]:
    """Return the percentile interval of the mean difference if the queries were drawn again from their population.

    Paired: a query is drawn with both models' results, so that hard and easy queries do not widen the interval.

    Args:
        differences: the difference of each query in each of M metrics, float64 [Q, M]; Q at least 1.
        resamples: the number of resamples, of Q queries each, drawn with replacement.
        confidence: the confidence, from 0 to 1.
        seed: the seed of the draws.

    Returns:
        The lower and the upper bound of each metric, float64 [M, 2].
    """
    random = np.random.default_rng(seed)
    count = len(differences)
    means = np.empty((resamples, differences.shape[1]))
    for resample in means:  # one at a time: memory does not grow with queries x resamples
        times_drawn = np.bincount(random.integers(count, size=count), minlength=count)
        resample[:] = times_drawn @ differences / count
    tail = (1 - confidence) / 2
    return np.asarray(np.quantile(means, (tail, 1 - tail), axis=0).T)
