"""A turn: some batches, one behind the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Turn", "take_turn"]

_SHORT = 0.1
"""The share of a turn up to which its first batch is short."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The timing of one turn.

    Attributes:
        wall_ms: the time of each batch.
        cpu_s: the CPU time that the process spent on these batches.
        untimed: the number of batches that ran before them.
        started: when the turn began, untimed batches included, in seconds of `time.monotonic`.
        ended: when it ended.
    """

    wall_ms: list[float]
    cpu_s: float
    untimed: int
    started: float
    ended: float


def take_turn(
    run: Callable[[], object],
    seconds: float,
    *,
    wall: Callable[[], float] = time.monotonic,
    cpu: Callable[[], float] = time.process_time,
) -> Turn:
    """Run batches until some seconds are over, at least one; the last one is not cut.

    The first batch runs on what other processes have left in the caches, which is a matter of taking turns and not of
    the subject. So it is not timed if it is short: otherwise it would be the p99 of each turn of about a hundred
    batches. A first batch of a tenth of the turn or more is timed, and its start weighs as little as it takes.

    Args:
        run: runs one batch, and returns when its result is there.
        seconds: the time for the turn.
        wall: the clock of wall time, in seconds.
        cpu: the clock of the process's CPU time, in seconds.
    """
    started, busy = wall(), cpu()
    run()
    now = wall()
    short = now - started < _SHORT * seconds
    if short:
        busy = cpu()
    times = [] if short else [now - started]
    while not times or now - started < seconds:
        before = now
        run()
        now = wall()
        times.append(now - before)
    return Turn([1000 * one for one in times], cpu() - busy, int(short), started, now)
