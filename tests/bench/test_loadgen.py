"""MLPerf's loadgen runs a system of known service time; our loops, on the same moments, have to come to the same."""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from fake_clock import FakeClock

from reid.bench.estimates import estimate_percentiles
from reid.bench.host.server import arrivals, serve
from reid.bench.host.timing import take_turn

loadgen = pytest.importorskip("mlperf_loadgen", reason="needs mlcommons-loadgen")


class Sample(NamedTuple):
    """What loadgen has noted of a frame, in seconds since it began."""

    query: int
    scheduled: float
    issued: float
    completed: float


@dataclass(frozen=True)
class Run:
    """A run of loadgen.

    Attributes:
        queries: the samples of each query, in the order of time.
        summary: loadgen's own figures, by their names.
        sizes: how many frames the system was given at a time.
    """

    queries: list[list[Sample]]
    summary: dict[str, float]
    sizes: list[int]


def run_loadgen(folder: Path, scenario: str, serve_frames: Callable[[int], None], **settings: object) -> Run:
    """Run a scenario with a system that embeds all frames that it is given as one batch."""
    sizes = []

    def issue(samples: list[Any]) -> None:
        sizes.append(len(samples))
        serve_frames(len(samples))
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0) for sample in samples])

    test, log = loadgen.TestSettings(), loadgen.LogSettings()
    test.scenario, test.mode = getattr(loadgen.TestScenario, scenario), loadgen.TestMode.PerformanceOnly
    for name, value in settings.items():
        setattr(test, name, value)
    log.log_output.outdir, log.log_output.copy_summary_to_stdout, log.enable_trace = str(folder), False, True
    system, library = loadgen.ConstructSUT(issue, _nothing), loadgen.ConstructQSL(16, 16, _nothing, _nothing)
    try:
        loadgen.StartTestWithLogSettings(system, library, test, log)
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)
    return Run(read_queries(folder / "mlperf_log_trace.json"), read_summary(folder / "mlperf_log_summary.txt"), sizes)


def _nothing(*_: object) -> None:
    """Loadgen wants to load samples, and to flush."""


def read_queries(trace: Path) -> list[list[Sample]]:
    samples = []
    for line in trace.read_text().splitlines():
        if '"name":"Sample"' in line and '"ph":"b"' in line:
            event = json.loads(line.rstrip(","))
            facts, scheduled = event["args"], event["ts"] / 1e6
            issued, completed = (scheduled + facts[name] / 1e9 for name in ("issue_start_ns", "complete_ns"))
            samples.append(Sample(facts["query_seq"], scheduled, issued, completed))
    samples.sort()
    return [list(query) for _, query in itertools.groupby(samples, key=lambda sample: sample.query)]


def read_summary(summary: Path) -> dict[str, float]:
    found = re.findall(r"^([^:\n]+?)\s*:\s*([\d.]+)\s*$", summary.read_text(), re.MULTILINE)
    return {name: float(value) for name, value in found}


@pytest.mark.parametrize(("scenario", "frames"), [("SingleStream", 1), ("MultiStream", 8)])
def test_streams(tmp_path: Path, scenario: str, frames: int) -> None:
    seconds = 0.15
    run = run_loadgen(
        tmp_path,
        scenario,
        lambda count: time.sleep(0.001 + 0.0005 * count),
        min_duration_ms=round(1000 * seconds),
        min_query_count=1,
        single_stream_expected_latency_ns=1_500_000,
        multi_stream_expected_latency_ns=5_000_000,
        multi_stream_samples_per_query=8,
    )
    begins = [query[0].issued for query in run.queries]
    ends = [max(one.completed for one in query) for query in run.queries]
    latency_ms = [1000 * (end - begin) for begin, end in zip(begins, ends, strict=True)]

    # Loadgen sends a query when the one before it is complete, and so do we: one at a time, of so many frames.
    assert set(run.sizes) == {frames} == {len(query) for query in run.queries}
    assert all(begin >= end for begin, end in zip(begins[1:], ends[:-1], strict=True))
    assert min(latency_ms) >= 1 + 0.5 * frames

    # The same moments on our clock: as many batches, and each takes as long, with what lies between two of them.
    moments = iter([begins[0], *ends])
    turn = take_turn(lambda: None, seconds, wall=lambda: next(moments, ends[-1] + seconds), cpu=lambda: 0.0)
    assert abs(turn.untimed + len(turn.wall_ms) - len(latency_ms)) <= 1  # loadgen may look at the time elsewhere
    for ours, theirs in zip(turn.wall_ms, latency_ms[turn.untimed :], strict=False):
        assert ours >= theirs - 1e-6

    # Percentiles of the same latencies; loadgen takes the value one rank further where a share is a whole number.
    found, ordered = estimate_percentiles([latency_ms]), sorted(latency_ms)
    for share, mine in (("50.00", found.p50), ("90.00", found.p90), ("99.00", found.p99)):
        theirs = run.summary[f"{share} percentile latency (ns)"] / 1e6
        next_rank = min(ordered.index(mine.value) + 1, len(ordered) - 1)
        assert mine.value - 0.001 <= theirs <= ordered[next_rank] + 0.001


def test_offline(tmp_path: Path) -> None:
    batch, frame_s = 8, 0.001
    done: list[int] = []

    def embed_in_batches(frames: int) -> None:
        for first in range(0, frames, batch):
            done.append(min(batch, frames - first))
            time.sleep(frame_s * done[-1])

    run = run_loadgen(
        tmp_path, "Offline", embed_in_batches, min_duration_ms=1, min_query_count=64, offline_expected_qps=1000
    )
    assert len(run.queries) == 1  # all frames at once
    frames = run.sizes[0]
    ended = max(one.completed for one in run.queries[0])

    clock = FakeClock()
    turn = take_turn(lambda: clock.sleep(ended / math.ceil(frames / batch)), ended - 1e-9, wall=clock, cpu=clock)
    ours = batch * (turn.untimed + len(turn.wall_ms)) / (turn.ended - turn.started)
    assert sum(done) == frames == 64
    assert ours == pytest.approx(run.summary["Samples per second"], rel=0.01)


def test_server(tmp_path: Path) -> None:
    run = run_loadgen(
        tmp_path,
        "Server",
        lambda frames: time.sleep(0.004 + 0.001 * frames),
        min_duration_ms=1,
        min_query_count=60,
        max_query_count=60,
        server_target_qps=250,
        server_target_latency_ns=100_000_000,
        server_coalesce_queries=True,  # all that wait go in one batch
        schedule_rng_seed=3,
    )
    samples = sorted((one for query in run.queries for one in query), key=lambda one: one.scheduled)
    left = iter(samples)
    batches = [[next(left) for _ in range(size)] for size in run.sizes]
    began = samples[0].scheduled - 1.0

    # What our loop sees on its clock: its beginning, then when each batch is formed and when it is complete.
    moments = [(min(one.issued for one in batch), max(one.completed for one in batch)) for batch in batches]
    clock = iter([began, *itertools.chain.from_iterable(moments)])
    sizes: list[int] = []
    schedule = [one.scheduled - began for one in samples]
    found = serve(sizes.append, schedule, len(samples), clock=lambda: next(clock), sleep=_nothing)
    assert sizes == run.sizes
    assert max(sizes) > 1
    assert found.latency_ms == pytest.approx([1000 * (one.completed - one.scheduled) for one in samples], abs=1e-6)
    assert max(found.latency_ms) == pytest.approx(run.summary["Max latency (ns)"] / 1e6, abs=1e-3)


def test_arrivals(tmp_path: Path) -> None:
    rate, frames = 4000, 800
    run = run_loadgen(
        tmp_path,
        "Server",
        _nothing,
        min_duration_ms=1,
        min_query_count=frames,
        max_query_count=frames,
        server_target_qps=rate,
        server_target_latency_ns=100_000_000,
        schedule_rng_seed=1,
    )
    theirs = np.diff(sorted(query[0].scheduled for query in run.queries))
    ours = np.diff(arrivals(rate, frames / rate, seed=0))
    # Kolmogorov and Smirnov's distance, at 1 %: the same distribution of the time from one arrival to the next.
    both = np.sort(np.concatenate([ours, theirs]))
    shares = [np.searchsorted(np.sort(gaps), both, side="right") / len(gaps) for gaps in (ours, theirs)]
    assert np.abs(shares[0] - shares[1]).max() < 1.63 * math.sqrt(1 / len(ours) + 1 / len(theirs))
    assert abs(len(ours) - len(theirs)) < 4 * math.sqrt(frames)
