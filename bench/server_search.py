"""The Server scenario's figure: the highest rate of arrivals whose p99 keeps a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

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

_LEAST = 1 / 64
"""The share of the throughput below which no rate is looked for."""

_STRETCHES = 10
"""The number of parts of a trial; frames of one part have waited in the same queue."""

_RESAMPLES = 100

Trial: TypeAlias = Callable[[float, int], Sequence[float]]
"""Lets frames arrive at a rate, in frames per second, as a seed says; returns their latencies in ms, in the order of
arrival, `inf` for those that were not finished."""


@dataclass(frozen=True, slots=True)
class FoundRate:
    """What a search has found.

    Attributes:
        frames_per_s: the highest rate that keeps the limit.
        latency_ms: the latencies of the finished frames with this rate, by stretches of its trials.
        trials: the number of all trials.
    """

    frames_per_s: Estimate
    latency_ms: tuple[tuple[float, ...], ...]
    trials: int


@dataclass(slots=True)
class _Tried:
    """The trials of one rate: their latencies, and whether each kept the limit."""

    latency_ms: list[NDArray[np.float64]] = field(default_factory=list)
    passed: list[bool] = field(default_factory=list)

    @property
    def balance(self) -> int:
        """How many more trials passed than failed."""
        return 2 * sum(self.passed) - len(self.passed)

    @property
    def stretches(self) -> list[NDArray[np.float64]]:
        """The latencies in consecutive parts of the trials."""
        parts = (np.array_split(trial, min(_STRETCHES, len(trial))) for trial in self.latency_ms)
        return [part for trial in parts for part in trial]


def search_rate(trial: Trial, limit_ms: float, throughput: Estimate, most_trials: int = 24) -> FoundRate | None:
    """Find the highest rate of arrivals whose p99 keeps a limit, within 5 %; None if no rate does.

    Bisection, on a logarithmic scale, between the highest rate that passes and the lowest one above it that fails.
    Where they are close, both are tried once more. A rate that passed once and failed once is tried a third time, and
    the majority says what it is; so one trial that was disturbed, wherever it happens, does not decide. All rates are
    tried first with the same pattern of arrivals, then with the next one: luck hits them alike, and other runs, too.

    Args:
        trial: tries a rate. A trial of fewer than a hundred frames passes if no frame is late.
        limit_ms: what 99 of 100 frames must keep.
        throughput: the frames per second of full batches, where the search begins.
        most_trials: where to stop, if the machine is so restless that the search comes to no end; the rate that has
            passed until then, if any, is returned.
    """
    rates: dict[float, _Tried] = {}
    for _ in range(most_trials):
        rate = _next_rate(rates, throughput.value)
        if rate is None:
            break
        tried = rates.setdefault(rate, _Tried())
        latency_ms = np.asarray(trial(rate, len(tried.passed)), np.float64)
        tried.latency_ms.append(latency_ms)
        tried.passed.append(bool((latency_ms > limit_ms).mean() <= _MAY_BE_LATE))
    best, _ = _bracket(rates)
    if best is None:
        return None
    finished = (tuple(filter(math.isfinite, stretch.tolist())) for stretch in rates[best].stretches)
    return FoundRate(
        _interval(rates, best, limit_ms, throughput),
        tuple(stretch for stretch in finished if stretch),
        sum(len(tried.passed) for tried in rates.values()),
    )


def _next_rate(rates: Mapping[float, _Tried], throughput: float) -> float | None:
    """Return the rate to try next; None at the end."""
    undecided = [rate for rate, tried in rates.items() if not tried.balance]
    if undecided:
        return undecided[0]
    best, failing = _bracket(rates)
    if failing is None:
        return _STEP * best if best else _FIRST * throughput
    if best is None and failing > _LEAST * throughput:
        return failing / _STEP
    if best is not None and failing / best > _TOLERANCE:
        return math.sqrt(best * failing)
    ends = [end for end in (best, failing) if end is not None]
    return next((end for end in ends if len(rates[end].passed) < _CONFIRMED), None)


def _bracket(rates: Mapping[float, _Tried]) -> tuple[float | None, float | None]:
    """Return the highest rate that passes, and the lowest one above it that fails."""
    best = max((rate for rate, tried in rates.items() if tried.balance > 0), default=None)
    failing = min((rate for rate, tried in rates.items() if tried.balance < 0 and rate > (best or 0)), default=None)
    return best, failing


def _interval(rates: Mapping[float, _Tried], best: float, limit_ms: float, throughput: Estimate) -> Estimate:
    """Return the rate with the interval of what other runs find.

    From where the p99 would have crossed the limit if other stretches of the same trials had come (the bootstrap of
    Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979), the width of the bracket,
    and what the throughput's interval says of this machine.
    """
    random = np.random.default_rng(0)
    ascending = [(rate, rates[rate].stretches) for rate in sorted(rates)]
    crossings = [
        _crossing([(rate, _resampled_p99(stretches, random)) for rate, stretches in ascending], limit_ms)
        for _ in range(_RESAMPLES)
    ]
    reach = math.sqrt(2) * student_quantile(_STRETCHES - 1) * float(np.std(np.log(crossings)))
    reach += math.log(_TOLERANCE)
    return Estimate(
        value=best,
        low=best * math.exp(-reach) * throughput.low / throughput.value,
        high=best * math.exp(reach) * throughput.high / throughput.value,
    )


def _resampled_p99(stretches: Sequence[NDArray[np.float64]], random: np.random.Generator) -> float:
    drawn = [stretches[index] for index in random.integers(0, len(stretches), len(stretches))]
    ordered = np.sort(np.concatenate(drawn))
    return float(ordered[rank(len(ordered), 1 - _MAY_BE_LATE) - 1])


def _crossing(points: Sequence[tuple[float, float]], limit: float) -> float:
    """Return the rate at which a latency first exceeds the limit, between points (rate, latency) in ascending order.

    On logarithmic scales; a step beyond the points, if it does so at all of them or at none.
    """
    first = next((index for index, (_, latency) in enumerate(points) if latency > limit), len(points))
    if first == 0:
        return points[0][0] / _STEP
    if first == len(points):
        return points[-1][0] * _STEP
    (rate, latency), (next_rate, next_latency) = points[first - 1], points[first]
    share = math.log(limit / latency) / math.log(next_latency / latency)
    return float(rate * (next_rate / rate) ** share)
