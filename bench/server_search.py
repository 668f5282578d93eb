"""The Server scenario's figure: the highest rate of arrivals whose p99 keeps a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from reid.bench.blocks import student_quantile
from reid.bench.quantiles import rank
from reid.bench.records import Estimate

__all__ = ["FoundRate", "search_rate"]

_MAY_BE_LATE = 0.01
_TOLERANCE = 1.05
"""How close the lowest rate that fails has to come to the highest one that passes."""

_CONFIRMED = 2
_FIRST, _STEP = 0.7, 2.0
"""The first rate relative to the throughput, and the factor until one rate passes and one fails."""

_RESAMPLES = 100
_STRETCHES = 10
"""The number of parts of a trial whose frames have waited in one queue."""

_LEAST = 1 / 64
"""The share of the throughput below which no rate is looked for."""


@dataclass(frozen=True, slots=True)
class FoundRate:
    """What a search has found.

    Attributes:
        frames_per_s: the highest rate that keeps the limit.
        latency_ms: the latencies of the trials with this rate.
        trials: the number of all trials.
    """

    frames_per_s: Estimate
    latency_ms: tuple[tuple[float, ...], ...]
    trials: int


@dataclass(slots=True)
class _Trials:
    """The trials of one rate: their latencies, and whether each kept the limit."""

    latency_ms: list[tuple[float, ...]] = field(default_factory=list)
    passed: list[bool] = field(default_factory=list)

    @property
    def balance(self) -> int:
        """How many more trials passed than failed."""
        return 2 * sum(self.passed) - len(self.passed)


def search_rate(
    trial: Callable[[float], Sequence[float]], limit_ms: float, throughput: Estimate, most_trials: int = 24
) -> FoundRate | None:
    """Find the highest rate of arrivals whose p99 keeps a limit, within 5 %; None if no rate does.

    Bisection, on a logarithmic scale, between the highest rate that passes and the lowest one above it that fails.
    Where they are close, both are tried once more. A rate that passed once and failed once is tried a third time, and
    the majority says what it is; so one trial that was disturbed, wherever it happens, does not decide.

    The interval goes from the lowest rate that failed in any trial to the highest one that passed in any, at least from
    one end of the last bracket to the other, and is widened by what the throughput's interval says of this machine.

    Args:
        trial: lets frames arrive at a rate, in frames per second, and returns their latencies in ms, `inf` for those
            that were not finished. A trial of fewer than a hundred frames passes if no frame is late.
        limit_ms: what 99 of 100 frames must keep.
        throughput: the frames per second of full batches, where the search begins.
        most_trials: where to stop, if the machine is so restless that the search comes to no end; the rate that has
            passed until then, if any, is returned.
    """
    rates: dict[float, _Trials] = {}
    for _ in range(most_trials):
        rate = _next_rate(rates, throughput.value)
        if rate is None:
            break
        latency_ms = tuple(trial(rate))
        tried = rates.setdefault(rate, _Trials())
        tried.latency_ms.append(latency_ms)
        tried.passed.append(_keeps(latency_ms, limit_ms))
    best, _ = _bracket(rates)
    if best is None:
        return None
    return FoundRate(
        _interval(rates, best, limit_ms, throughput),
        tuple(rates[best].latency_ms),
        sum(len(tried.passed) for tried in rates.values()),
    )


def _keeps(latency_ms: Sequence[float], limit_ms: float) -> bool:
    late = sum(one > limit_ms for one in latency_ms)
    return late <= _MAY_BE_LATE * len(latency_ms)


def _next_rate(rates: dict[float, _Trials], throughput: float) -> float | None:
    """Return the rate to try next; None at the end."""
    undecided = [rate for rate, tried in rates.items() if not tried.balance]
    if undecided:
        return undecided[0]
    best, failing = _bracket(rates)
    if best is None and failing is None:
        return _FIRST * throughput
    if failing is None:
        assert best is not None
        return _STEP * best
    if best is None and failing > _LEAST * throughput:
        return failing / _STEP
    if best is not None and failing / best > _TOLERANCE:
        return math.sqrt(best * failing)
    ends = [end for end in (best, failing) if end is not None]
    return next((end for end in ends if len(rates[end].passed) < _CONFIRMED), None)


def _bracket(rates: dict[float, _Trials]) -> tuple[float | None, float | None]:
    """Return the highest rate that passes, and the lowest one above it that fails."""
    best = max((rate for rate, tried in rates.items() if tried.balance > 0), default=None)
    failing = min((rate for rate, tried in rates.items() if tried.balance < 0 and rate > (best or 0)), default=None)
    return best, failing


def _interval(rates: dict[float, _Trials], best: float, limit_ms: float, throughput: Estimate) -> Estimate:
    random = np.random.default_rng(0)
    stretches = [(rate, _stretches(tried.latency_ms)) for rate, tried in sorted(rates.items())]
    found = []
    for _ in range(_RESAMPLES):
        points = [(rate, _resampled_p99(parts, random)) for rate, parts in stretches]
        found.append(math.log(_crossing(points, limit_ms)))
    reach = math.sqrt(2) * student_quantile(_STRETCHES - 1) * float(np.std(found))
    return Estimate(
        value=best,
        low=best * math.exp(-reach) / _TOLERANCE * throughput.low / throughput.value,
        high=best * math.exp(reach) * _TOLERANCE * throughput.high / throughput.value,
    )


def _resampled_p99(parts: Sequence[Sequence[float]], random: np.random.Generator) -> float:
    drawn = np.sort(np.concatenate([parts[index] for index in random.integers(0, len(parts), len(parts))]))
    return float(drawn[rank(len(drawn), 1 - _MAY_BE_LATE) - 1])


def _crossing(points: Sequence[tuple[float, float]], limit: float) -> float:
    """Return where a quantity that grows with the rate exceeds the limit first, between points in ascending order.

    On logarithmic scales. One step beyond the points, if it does so at all or none of them.
    """
    first = next((index for index, (_, value) in enumerate(points) if value > limit), len(points))
    if first == 0:
        return points[0][0] / _STEP
    if first == len(points):
        return points[-1][0] * _STEP
    (rate, value), (next_rate, next_value) = points[first - 1], points[first]
    return rate * (next_rate / rate) ** (math.log(limit / value) / math.log(next_value / value))


def _stretches(trials: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Cut trials into consecutive stretches, whose frames have had the same moment; an endless latency has an end."""
    end = 10 * max((one for trial in trials for one in trial if math.isfinite(one)), default=1.0)
    stretches = []
    for trial in trials:
        size = -(-len(trial) // _STRETCHES)
        stretches += [tuple(min(one, end) for one in trial[first : first + size]) for first in range(0, len(trial), size)]
    return stretches
