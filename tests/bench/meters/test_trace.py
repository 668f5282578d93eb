from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.bench.meters.sampler import Sampler
from reid.bench.meters.trace import Trace

TIMES = st.lists(st.floats(0, 100), min_size=1, max_size=20, unique=True).map(sorted)


@settings(max_examples=40)
@given(TIMES, st.data())
def test_integrals_over_any_partition_of_a_window_add_up(times: list[float], data: st.DataObject) -> None:
    values = data.draw(st.lists(st.floats(0, 700), min_size=len(times), max_size=len(times)))
    trace = Trace.of(zip(times, values, strict=True))
    cuts = sorted(data.draw(st.lists(st.floats(-10, 110), min_size=2, max_size=8)))
    parts = [trace.integral(a, b) for a, b in pairwise(cuts)]
    assert None not in parts
    whole = trace.integral(cuts[0], cuts[-1])
    assert sum(part for part in parts if part is not None) == pytest.approx(whole, abs=1e-6)


def test_a_ramp_has_the_energy_that_its_formula_gives() -> None:
    times = np.linspace(1, 3, 41)
    trace = Trace(times, 10 * times)
    assert trace.integral(1.25, 2.75) == pytest.approx(5 * (2.75**2 - 1.25**2))
    assert trace.mean(1.25, 2.75) == pytest.approx(20)
    assert trace.integral(0, 1) == pytest.approx(10)  # before the first sample, as at the first one
    assert Trace.of([]).integral(0, 1) is None


def test_a_sampler_reads_until_it_is_stopped_and_leaves_out_what_does_not_answer() -> None:
    read = threading.Event()
    values = iter([5.0, None, 7.0])

    def gauge() -> float | None:
        value = next(values, 7.0)
        if value == 7.0:
            read.set()
        return value

    sampler = Sampler({"power": gauge, "clock": lambda: None}, lambda: frozenset({"GPU: power brake"}))
    assert read.wait(10)
    traces, signs = sampler.stop()
    assert list(traces["power"].values[:2]) == [5.0, 7.0]
    assert len(traces["clock"].times) == 0
    assert signs == {"GPU: power brake"}
    assert threading.active_count() == len([t for t in threading.enumerate() if t.name != "meters"])
