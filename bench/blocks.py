"""What turns that are close in time have of each other: so many turns count as few.

They are summed up in blocks of consecutive rounds ("batch means"; Law, "Simulation modeling and analysis", chapter 9).
What neighboring blocks still have of each other widens an interval and takes degrees of freedom.
"""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "Dependence", "cut", "dependence", "student_quantile"]

LEVEL = 0.995
"""An interval holds 99 % of other runs: half a percent is beyond on either side."""

_MOST_BLOCKS = 20
_MOST_CORRELATION = 0.9
_LEAST_FREEDOM = 3.0


def cut(rounds: int) -> list[slice]:
    """Cut rounds into at most twenty blocks of consecutive ones, whose size is odd: then a median is one of them."""
    size = 1
    while rounds // size > _MOST_BLOCKS:
        size += 2
    ends = [round(block * rounds / (rounds // size)) for block in range(rounds // size + 1)]
    return [slice(first, end) for first, end in itertools.pairwise(ends)]


class Dependence(NamedTuple):
    """How a series differs from one of independent values.

    Attributes:
        inflation: how many times larger the standard error of its mean is.
        freedom: the degrees of freedom that are left.
    """

    inflation: float
    freedom: float


def dependence(values: NDArray[np.float64]) -> Dependence:
    """Return how much two or more values, in the order of time, depend on each other, by neighbors' correlation.

    The correlation's bias in short series is corrected. Below 0 it counts as 0.
    """
    count = len(values)
    centered = values - values.mean()
    variance = float((centered**2).sum())
    found = float((centered[1:] * centered[:-1]).sum()) / variance if variance else 0.0
    correlation = min(max(found + (1 + 3 * max(found, 0)) / count, 0.0), _MOST_CORRELATION)
    alike = (1 + correlation) / (1 - correlation)
    return Dependence(math.sqrt(alike), min(max(count / alike - 1, _LEAST_FREEDOM), count - 1))


def student_quantile(freedom: float) -> float:
    """Return the quantile of Student's t at LEVEL.

    Exact for one and two degrees of freedom. From three on, within 1 % by the expansion in 26.7.5 of Abramowitz and
    Stegun, "Handbook of Mathematical Functions".
    """
    if freedom == 1:
        return math.tan(math.pi * (LEVEL - 0.5))
    if freedom == 2:
        return (2 * LEVEL - 1) / math.sqrt(2 * LEVEL * (1 - LEVEL))
    z = NormalDist().inv_cdf(LEVEL)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
