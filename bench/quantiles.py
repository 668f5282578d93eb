"""How far a percentile of another run may be from this run's.

By how many batches are slower (Woodruff, "Confidence intervals for medians and other position measures", Journal of the
American Statistical Association 47, 1952). Slow batches come in groups, so their share varies from block to block of
rounds more than chance would have it; from that, the shares that another run may find follow, and their percentiles are
looked up in this run. A share that is less than one batch lies beyond the slowest one, by the law that tails fall like
a power, with the exponent that the slowest batches and the slowest turns have (Hill, "A simple general approach to
inference about the tail of a distribution", Annals of Statistics 3, 1975).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reid.bench.blocks import Dependence, cut, dependence, student_quantile

__all__ = ["quantile_bounds", "rank"]

_SLOWEST = 8
"""The number of values that show how the tail falls."""

_FARTHEST = 100.0
"""No odds are looked up that are farther away, as a logarithm."""


def rank(count: int, share: float) -> int:
    """Return which one of so many ordered values is the percentile of a share, from 1 on ("nearest rank")."""
    return math.ceil(round(share * count, 6))  # 0.99 * 100 may be a little more than 99


def quantile_bounds(turns: Sequence[NDArray[np.float64]], share: float) -> tuple[float, float]:
    """Return between which values the percentile of 99 % of other runs lies.

    Args:
        turns: the logarithms of the batches' times by turn, in the order of time; two batches at least.
        share: what part of the batches is faster.
    """
    ordered = np.sort(np.concatenate(turns))
    slower, step = _share_slower(turns, float(ordered[rank(len(ordered), share) - 1]))
    fall = max(_fall(ordered), _fall(np.sort([turn.max() for turn in turns])))

    def level(odds: float) -> float:
        """The value with these odds, as a logarithm, that a batch is slower."""
        expected = len(ordered) / (1 + math.exp(-odds))  # slower batches of this run
        if expected < 1:
            return float(ordered[-1]) - fall * math.log(expected)
        return float(ordered[max(math.ceil(len(ordered) - expected), 1) - 1])

    odds = math.log(slower / (1 - slower))
    return level(odds + step), level(odds - step)


def _share_slower(turns: Sequence[NDArray[np.float64]], time: float) -> tuple[float, float]:
    """Return the share of slower batches, and how far the logarithm of its odds may be off in another run."""
    blocks = [np.concatenate(turns[rounds]) for rounds in cut(len(turns))]
    slower = np.array([(block > time).sum() for block in blocks])
    counts = np.array([len(block) for block in blocks])
    share = (slower.sum() + 0.5) / counts.sum()
    error = math.sqrt(share * (1 - share) / counts.sum())  # if batches were independent
    alike = Dependence(1, 1)
    if len(blocks) > 1:
        more = (slower - slower.sum() / counts.sum() * counts) / counts.mean()
        alike = dependence(more)
        error = max(error, alike.inflation * float(more.std(ddof=1)) / math.sqrt(len(blocks)))
    step = math.sqrt(2) * student_quantile(alike.freedom) * error / (share * (1 - share))
    return float(share), min(float(step), _FARTHEST)


def _fall(ordered: NDArray[np.float64]) -> float:
    """Return by how much the slowest of ordered values exceed the next one on average; 0 for a single value."""
    tail = min(_SLOWEST, len(ordered) - 1)
    return float((ordered[-tail:] - ordered[-tail - 1]).mean()) if tail else 0.0
