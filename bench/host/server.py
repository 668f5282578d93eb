"""The Server scenario: frames that arrive by themselves, whether or not the subject has time for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

__all__ = ["Served", "arrivals", "serve"]

_PATIENCE = 1.5
"""How much longer than its frames arrive a trial may take: a subject that is overloaded would never come to an end."""


@dataclass(frozen=True, slots=True)
class Served:
    """What became of the frames.

    Attributes:
        latency_ms: the latency of each frame that was finished, in the order of arrival, from the scheduled arrival
            until its embedding was there.
        unfinished: the number of frames that were not finished.
    """

    latency_ms: list[float]
    unfinished: int


def arrivals(frames_per_s: float, seconds: float, seed: int) -> list[float]:
    """Return when frames arrive in a Poisson process, in seconds from its beginning, ascending; at least one."""
    random = Random(seed)
    times = [random.expovariate(frames_per_s)]
    while times[-1] < seconds:
        times.append(times[-1] + random.expovariate(frames_per_s))
    return times[:-1] or times


def serve(
    run: Callable[[int], object],
    schedule: Sequence[float],
    most_frames: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Served:
    """Embed frames as they arrive; all that wait form the next batch.

    The schedule is fixed before (an open loop) and latency counts from the scheduled arrival, so that a slow batch
    shows in the latency of all frames that arrive meanwhile ("coordinated omission"). Ends after one and a half times
    the schedule's length.

    Args:
        run: embeds a batch of so many frames, and returns when its embeddings are there.
        schedule: when frames arrive, in seconds from now, ascending.
        most_frames: the largest batch.
        clock: in seconds.
        sleep: waits for some seconds.
    """
    started = clock()
    end = _PATIENCE * schedule[-1]
    latency: list[float] = []
    while len(latency) < len(schedule) and (now := clock() - started) <= max(end, schedule[len(latency)]):
        first = len(latency)
        if schedule[first] > now:
            sleep(schedule[first] - now)
            now = max(clock() - started, schedule[first])  # a clock may be a little behind a sleep
        waiting = _count_arrived(schedule, first, now, most_frames)
        run(waiting)
        done = clock() - started
        latency += [1000 * (done - arrival) for arrival in schedule[first : first + waiting]]
    return Served(latency, len(schedule) - len(latency))


def _count_arrived(schedule: Sequence[float], first: int, now: float, most: int) -> int:
    arrived = first
    while arrived < min(first + most, len(schedule)) and schedule[arrived] <= now:
        arrived += 1
    return arrived - first
