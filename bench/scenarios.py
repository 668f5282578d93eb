"""MLPerf loadgen's scenarios: three follow from the turns, and one from frames that arrive by themselves.

https://github.com/mlcommons/inference/tree/master/loadgen defines them. SingleStream and MultiStream send the next
query when the one before is answered, which is what a turn does; Offline has all frames at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from reid.bench.estimates import estimate_percentiles
from reid.bench.process import HostProcess
from reid.bench.result import BatchResult, Cameras, Scenario, Settings
from reid.bench.server_search import search_rate

__all__ = ["cameras_of", "closed_scenarios", "measure_server"]

_SINGLE, _MULTI = 1, 8
"""Frames in a query."""

_TRIALS = 10
"""About as many as a search takes."""

_FRAMES, _LEAST_S, _MOST_S = 300, 1.0, 20.0
"""A trial has so many frames, so that three of them may be late, within these bounds of time."""

_LONGER = 2.0
"""How many times its share of the time a trial may take to have them: of a slow subject it has fewer."""


def closed_scenarios(batches: Sequence[BatchResult]) -> Iterator[Scenario]:
    """Yield SingleStream, MultiStream and Offline, as far as their batch sizes were measured."""
    by_size = {batch.frames: batch for batch in batches}
    if single := by_size.get(_SINGLE):
        yield _closed("SingleStream", single)
    if multi := by_size.get(_MULTI):
        yield _closed("MultiStream", multi)
    if batches:
        best = max(batches, key=lambda batch: batch.frames_per_s.value)
        yield Scenario(name="Offline", latency_ms=None, frames_per_s=best.frames_per_s, seconds=_seconds(best))


def measure_server(
    host: HostProcess, batches: Sequence[BatchResult], settings: Settings, *, seconds: float, unseen: float
) -> Scenario | None:
    """Search the highest rate of arrivals that keeps the latency limit; None where no rate does.

    Args:
        host: the subject's process.
        batches: its results by batch size.
        settings: the limit.
        seconds: about how long to search.
        unseen: what runs on this machine differ by; see `estimate`.
    """
    best = max(batches, key=lambda batch: batch.frames_per_s.value).frames_per_s
    trials = _Trials(host, _largest_batch(batches, settings.latency_limit_ms), seconds / _TRIALS)
    found = search_rate(trials.run, settings.latency_limit_ms, best, most_trials=2 * _TRIALS)
    if found is None:
        return None
    finished = [[one for one in trial if math.isfinite(one)] for trial in found.latency_ms]
    return Scenario(
        name="Server",
        latency_ms=estimate_percentiles(finished, unseen),
        frames_per_s=found.frames_per_s,
        seconds=trials.seconds,
    )


def cameras_of(server: Scenario | None, settings: Settings) -> Cameras:
    """Return how many cameras fit into the rate of the Server scenario; none where no rate keeps the limit."""
    if server is None:
        return Cameras(low=0, value=0, high=0)
    low, value, high = (
        int(rate // settings.camera_frames_per_s)
        for rate in (server.frames_per_s.low, server.frames_per_s.value, server.frames_per_s.high)
    )
    return Cameras(low=low, value=value, high=high)


@dataclass(slots=True)
class _Trials:
    host: HostProcess
    most_frames: int
    each_s: float
    seconds: float = 0.0

    def run(self, frames_per_s: float, seed: int) -> list[float]:
        """Let frames arrive at a rate; return their latencies in ms, infinite for those that were not finished."""
        wanted = min(max(self.each_s, _FRAMES / frames_per_s), _MOST_S)
        seconds = max(_LEAST_S, min(wanted, _LONGER * self.each_s))
        served = self.host.serve(frames_per_s, seconds, seed, self.most_frames)
        self.seconds += seconds
        return [*served.latency_ms, *[math.inf] * served.unfinished]


def _largest_batch(batches: Sequence[BatchResult], limit_ms: float) -> int:
    """Return the largest batch for which a frame can wait, and that is then computed, within the limit."""
    return max((batch.frames for batch in batches if 2 * batch.latency_ms.p50.value <= limit_ms), default=1)


def _closed(name: Literal["SingleStream", "MultiStream"], batch: BatchResult) -> Scenario:
    return Scenario(name=name, latency_ms=batch.latency_ms, frames_per_s=batch.frames_per_s, seconds=_seconds(batch))


def _seconds(batch: BatchResult) -> float:
    return sum(turn.wall_s for turn in batch.turns)
