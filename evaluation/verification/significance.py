"""Paired tests and intervals: whether a difference between two models on the same queries may be chance."""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "mcnemar_p_value",
    "normal_p_value",
    "normal_quantile",
    "proportion_interval",
    "sign_flip_p_value",
]

_GRID = 2.0**28
"""Steps a point: differences of up to 100 points of 2^18 queries add up without rounding, in any order."""

_DRAWS = 1 << 13
_DRAWS_AT_ONCE = 1 << 10

_HALVINGS = 60


def mcnemar_p_value(losses: int, gains: int) -> float:
    """Return how often chance alone loses as many of the queries that changed: McNemar's exact test, one-sided.

    Under chance every query that changed is as likely to be lost as to be gained, so losses are binomial.

    McNemar: *Note on the sampling error of the difference between correlated proportions*, Psychometrika 1947.

    Args:
        losses: the number of queries that only the reference answers.
        gains: the number of queries that only the candidate answers.
    """
    flipped = losses + gains
    term = math.comb(flipped, losses)
    total = term
    for lost in range(losses, flipped):
        term = term * (flipped - lost) // (lost + 1)
        total += term
    return float(Fraction(total, 1 << flipped))


def sign_flip_p_value(differences: NDArray[np.float64], seed: int = 0) -> float:
    """Return how often chance alone makes a sum of differences this low: the paired permutation test, one-sided.

    Under chance a difference is as likely to have the other sign (Fisher, *The Design of Experiments*, 1935). With
    differences of one size alone this is McNemar's test. Up to 13 differences all signs are tried, and otherwise
    8,192 draws of them. The value is the same on every CPU.

    Args:
        differences: candidate minus reference in points, float64 [n], of queries or whatever else is independent.
        seed: the seed of the draws.
    """
    steps = np.rint(differences[differences != 0] * _GRID)
    # The signs of a subset are exchanged. The sum is no higher for it where the subset's own sum is not negative.
    if 1 << min(len(steps), 14) <= _DRAWS:
        subsets = np.arange(1 << len(steps))[:, None] >> np.arange(len(steps)) & 1
        return float(np.mean(subsets @ steps >= 0))
    random = np.random.default_rng(seed)
    as_low = 0
    for _ in range(_DRAWS // _DRAWS_AT_ONCE):
        subsets = random.integers(2, size=(_DRAWS_AT_ONCE, len(steps)), dtype=np.int8)
        as_low += int(np.count_nonzero(subsets.astype(np.float64) @ steps >= 0))
    return (1 + as_low) / (1 + _DRAWS)


def proportion_interval(losses: float, gains: float, queries: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the difference of two paired proportions, (gains - losses) / queries, from -1 to 1.

    It is the score interval, which also says something where no query changed: Tango, *Equivalence test and confidence
    interval for the difference in proportions for the paired-sample design*, Statistics in Medicine 1998.

    Args:
        losses: the number of queries that only the reference answers; with `gains` at most `queries`.
        gains: the number of queries that only the candidate answers.
        queries: the number of queries, more than 0. None of the three has to be whole.
        confidence: the confidence, from 0 to 1.
    """
    limit = normal_quantile((1 + confidence) / 2)
    lower = _last_within(losses, gains, queries, limit)
    upper = _last_within(gains, losses, queries, limit)
    return lower, -upper


def _last_within(losses: float, gains: float, queries: float, limit: float) -> float:
    """Return the lowest difference whose score is within the limit."""
    outside, within = -1.0, (gains - losses) / queries
    for _ in range(_HALVINGS):
        middle = (outside + within) / 2
        if _score(middle, losses, gains, queries) <= limit:
            within = middle
        else:
            outside = middle
    return within


def _score(difference: float, losses: float, gains: float, queries: float) -> float:
    """Return by how many standard errors the observed difference is above this one (Tango's equations 4 and 5)."""
    linear = -losses - gains + (2 * queries - gains + losses) * difference
    constant = -losses * difference * (1 - difference)
    root = math.sqrt(max(0.0, linear * linear - 8 * queries * constant))
    lost = (root - linear) / (4 * queries)
    variance = queries * (2 * lost + difference * (1 - difference))
    above = gains - losses - queries * difference
    return above / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, above)


def normal_p_value(change: float, standard_error: float) -> float:
    """Return how often a normal error alone makes a change this low; 0 or 1 where there is no error."""
    if standard_error == 0:
        return float(change >= 0)
    return NormalDist().cdf(change / standard_error)


def normal_quantile(probability: float) -> float:
    """Return the quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(probability)
