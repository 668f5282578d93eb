"""Figures from turns, each with the interval for what another run of the same command on this machine would find.

Another run has another figure, too, so its interval is wider than the one of the mean: two runs differ by the square
root of two times what one is off by. Everything is computed on a logarithmic scale: figures are positive, and a time
that is twice as long is as far as one that is half as long. No distribution is assumed for the turns:

- *Medians, and ranks around them.* A turn that fell into a bad moment moves neither far. The standard error of a median
  comes from two order statistics (Price and Bonett, "Estimating the variance of the sample median", Journal of
  Statistical Computation and Simulation 68, 2001).
- *Turns that are close in time are alike* (`reid.bench.blocks`).
- *Few turns.* Student's t instead of the normal distribution. After three rounds an interval is wide, and after one it
  is an order of magnitude.
- *What one run cannot see.* A process keeps its layout in memory for life, and that alone makes it faster or slower
  than the next one (Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", ASPLOS 2009;
  Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013). A virtual machine shares its host with
  others, which change its speed from one hour to the next (Laaber et al., "Software microbenchmarking in the cloud. How
  bad is it really?", Empirical Software Engineering 24, 2019). A part for that is always added. Ratios of figures from
  the same rounds have the part of the processes only: the machine was the same for both.
- *Percentiles* hang on how many batches are slow in a turn, too (`reid.bench.quantiles`). Among fewer than a hundred
  batches the p99 is the slowest one, and its interval says how little that means. What happens less than once in a run
  is in none of its intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reid.bench.blocks import LEVEL, cut, dependence, student_quantile
from reid.bench.quantiles import quantile_bounds, rank
from reid.bench.records import Estimate, Percentiles

__all__ = ["PROCESSES", "RUNS_ON_SHARED_HOST", "estimate", "estimate_percentiles", "estimate_ratio"]

PROCESSES: Final = 0.01
"""The standard deviation, as a share, of what processes that do the same differ by."""

RUNS_ON_SHARED_HOST: Final = 0.03
"""The same for runs on a virtual machine: Laaber et al. found 2 to 5 percent for calm ones, and so did we."""

_NORMAL = NormalDist()

_IGNORANCE = math.log(10)
"""What is known after one round is the order of magnitude; no interval is wider than that."""


def estimate(values: Sequence[float], unseen: float = PROCESSES) -> Estimate:
    """Return the median of a figure that each round has found.

    Args:
        values: the figure by round, in the order of time; positive.
        unseen: the standard deviation, as a share, of what runs differ by for reasons that none of them can see.

    Raises:
        ValueError: there is none, or one is not positive.
    """
    logs = _logs(values)
    spread = _spread(np.array([np.median(logs[rounds]) for rounds in cut(len(logs))]))
    return _estimate(float(np.median(values)), -spread, spread, unseen)


def estimate_ratio(values: Sequence[float | None], others: Sequence[float | None]) -> Estimate | None:
    """Return how many times the others a figure is: the median of the rounds' ratios; None without a common round.

    Args:
        values: the figure by round; None for a round that does not count.
        others: the other's figure of the same rounds.
    """
    pairs = [(one, other) for one, other in zip(values, others, strict=True) if one is not None and other is not None]
    return estimate([one / other for one, other in pairs]) if pairs else None


def estimate_percentiles(turns: Sequence[Sequence[float]], unseen: float = PROCESSES) -> Percentiles:
    """Return the percentiles over all batches; each is one of the times ("nearest rank").

    Args:
        turns: the times of the batches by turn, in the order of time; positive.
        unseen: as in `estimate`.

    Raises:
        ValueError: there is no turn, one is empty, or a time is not positive.
    """
    logs = [_logs(turn) for turn in turns]
    times = sorted(time for turn in turns for time in turn)
    blocks = [np.sort(np.concatenate(logs[rounds])) for rounds in cut(len(logs))]

    def find(share: float) -> Estimate:
        value = times[rank(len(times), share) - 1]
        spread = _spread(np.array([block[rank(len(block), share) - 1] for block in blocks]))
        if len(times) == 1:
            return _estimate(value, -spread, spread, unseen)
        low, high = (bound - math.log(value) for bound in quantile_bounds(logs, share))
        return _estimate(value, min(low, -spread), max(high, spread), unseen)

    return Percentiles(p50=find(0.5), p90=find(0.9), p99=find(0.99))


def _estimate(value: float, low: float, high: float, unseen: float) -> Estimate:
    """Return the estimate whose interval reaches from `low`, below 0, to `high` on the logarithmic scale.

    The part for what one run cannot see is added.
    """
    between = math.sqrt(2) * _NORMAL.inv_cdf(LEVEL) * unseen
    below, above = (min(math.hypot(reach, between), _IGNORANCE) for reach in (low, high))
    return Estimate(value=value, low=value * math.exp(-below), high=value * math.exp(above))


def _spread(blocks: NDArray[np.float64]) -> float:
    """Return how far the median of the blocks of another run may be from the one of these, in the order of time."""
    if len(blocks) == 1:
        return _IGNORANCE
    ranks = np.argsort(np.argsort(blocks, kind="stable"), kind="stable").astype(np.float64)
    alike = dependence(ranks)
    return math.sqrt(2) * student_quantile(alike.freedom) * alike.inflation * _standard_error(blocks)


def _standard_error(values: NDArray[np.float64]) -> float:
    """The standard error of a median of independent values, from the order statistics about two errors around it."""
    count = len(values)
    inner = max(1, round((count + 1) / 2 - _NORMAL.inv_cdf(0.975) * math.sqrt(count / 4)))
    outside = sum(math.comb(count, below) for below in range(inner)) / 2**count
    ordered = np.sort(values)
    return float(ordered[count - inner] - ordered[inner - 1]) / (2 * _NORMAL.inv_cdf(1 - outside))


def _logs(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if not len(array) or not (array > 0).all():
        raise ValueError("an estimate needs positive values")
    return np.log(array)
