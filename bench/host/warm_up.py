"""Run batches until they take equally long."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["WarmUp", "is_stable", "warm_up"]

_LEAST_BATCHES, _LEAST_S = 6, 0.5
"""A GPU raises its clocks within some tenths of a second, in which hundreds of batches may run."""

_TOLERANCE = 0.05
_NOISE, _LEAST_NOISY = 2.0, 12
"""Standard errors by which two equal medians may well differ, and from how many batches on these are known."""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How a subject was warmed up.

    Attributes:
        batches: the number of batches.
        seconds: how long they took.
        stable: whether they were stable before the time was over.
    """

    batches: int
    seconds: float
    stable: bool


def warm_up(run: Callable[[], object], at_most_s: float, clock: Callable[[], float] = time.monotonic) -> WarmUp:
    """Run batches until they are stable as `is_stable` says, or until the time is over.

    At least six batches and half a second, as far as the time permits. It counts from the second batch on, because the
    first one may compile kernels for its size. Between two looks at the rule the number of batches grows by a quarter:
    whoever looks after each batch finds a lucky moment.

    Args:
        run: runs one batch, and returns when its result is there.
        at_most_s: the time after the first batch.
        clock: in seconds.
    """
    started = before = clock()
    times: list[float] = []
    look, end = _LEAST_BATCHES, float("inf")
    while True:
        run()
        now = clock()
        times.append(now - before)
        before = now
        end = min(end, now + at_most_s)
        if len(times) >= look and now - started >= _LEAST_S:
            if is_stable(times):
                return WarmUp(len(times), now - started, stable=True)
            look = len(times) + max(1, len(times) // 4)
        if now >= end:
            return WarmUp(len(times), now - started, stable=False)


def is_stable(times: Sequence[float]) -> bool:
    """Whether batches have stopped to become faster or slower.

    The batches are cut in three parts. The first part is what warmed up. The medians of the second and the third have
    to agree within 5 % or, after twelve batches on a machine that is less steady than that, within two standard errors
    of their difference: noise does not go away by waiting.

    Args:
        times: the time of each batch, in order; at least three.
    """
    third = len(times) // 3
    middle, last = times[-2 * third : -third], times[-third:]
    change = abs(statistics.median(last) - statistics.median(middle))
    noise = _NOISE * _standard_error(middle, last) if len(times) >= _LEAST_NOISY else 0.0
    return change <= max(_TOLERANCE * statistics.median(middle), noise)


def _standard_error(*parts: Sequence[float]) -> float:
    """The standard error of the difference of the parts' medians, as if their values were independent and normal."""
    return float(sum((1.2533 * _deviation(part)) ** 2 / len(part) for part in parts) ** 0.5)


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation, by the median of absolute deviations, which single slow batches do not raise."""
    center = statistics.median(values)
    return 1.4826 * statistics.median(abs(value - center) for value in values)
