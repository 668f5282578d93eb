import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from fake_clock import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.bench.host.server import arrivals, serve
from reid.bench.records import Estimate
from reid.bench.server_search import search_rate

EXACTLY_100 = Estimate(value=100, low=100, high=100)


class FakeServer:
    """Keeps 10 ms up to a rate; the trials with the numbers in `disturbed` do not say what they should."""

    def __init__(self, most: float, disturbed: tuple[int, ...] = ()) -> None:
        self._most = most
        self._disturbed = disturbed
        self.rates: list[float] = []

    def trial(self, rate: float, seed: int) -> list[float]:
        keeps = (rate <= self._most) != (len(self.rates) in self._disturbed)
        assert seed == self.rates.count(rate)  # all rates see the same arrivals
        self.rates.append(rate)
        return [9.0] * 98 + ([9.5, 9.9] if keeps else [11.0, math.inf])


@settings(max_examples=20)
@given(most=st.floats(2, 1000))
def test_the_highest_rate_is_found_within_five_percent(most: float) -> None:
    server = FakeServer(most)
    found = search_rate(server.trial, 10, EXACTLY_100)
    assert found is not None
    rate = found.frames_per_s
    assert most / 1.05 <= rate.value <= most
    assert rate.low <= most <= rate.high
    assert found.trials == len(server.rates) <= 16
    assert server.rates.count(rate.value) == 2  # it was confirmed
    assert sum(found.latency_ms, ()) == (*[9.0] * 98, 9.5, 9.9) * 2


@settings(max_examples=20)
@given(most=st.floats(2, 1000), disturbed=st.integers(0, 15))
def test_one_disturbed_trial_decides_nothing(most: float, disturbed: int) -> None:
    server = FakeServer(most, (disturbed,))
    found = search_rate(server.trial, 10, EXACTLY_100)
    assert found is not None
    assert most / 1.05 <= found.frames_per_s.value <= most
    assert found.frames_per_s.low <= most <= found.frames_per_s.high


def test_a_flip_and_the_noise_of_the_machine_widen_the_interval() -> None:
    calm = search_rate(FakeServer(90).trial, 10, EXACTLY_100)
    flipped = search_rate(FakeServer(90, (0,)).trial, 10, EXACTLY_100)
    noisy = search_rate(FakeServer(90).trial, 10, Estimate(value=100, low=80, high=130))
    assert calm
    assert flipped
    assert noisy
    assert flipped.frames_per_s.low < calm.frames_per_s.low
    assert noisy.frames_per_s.low == pytest.approx(0.8 * calm.frames_per_s.low)
    assert noisy.frames_per_s.high == pytest.approx(1.3 * calm.frames_per_s.high)


def test_a_subject_that_keeps_the_limit_at_no_rate_has_none() -> None:
    server = FakeServer(0)
    assert search_rate(server.trial, 10, EXACTLY_100) is None
    assert 0.5 < min(server.rates) < 3
    assert len(server.rates) < 12


def test_a_restless_machine_ends_the_search() -> None:
    answers = itertools.cycle([[1.0], [99.0]])
    rates = []

    def trial(rate: float, seed: int) -> list[float]:
        rates.append(rate)
        return next(answers)

    search_rate(trial, 10, EXACTLY_100, most_trials=5)
    assert len(rates) == 5


@pytest.mark.parametrize(
    ("late", "frames", "keeps"), [(1, 100, True), (2, 100, False), (1, 99, False), (10, 1000, True)]
)
def test_one_of_a_hundred_frames_may_be_late(late: int, frames: int, keeps: bool) -> None:
    found = search_rate(
        lambda rate, _: [10.0] * (frames - late) + [10.1] * late if rate <= 50 else [math.inf], 10, EXACTLY_100
    )
    assert (found is not None) == keeps


def test_five_runs_contain_each_others_rates() -> None:
    """A subject whose batches vary, some of them much, on a machine that is never quite as fast as before."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(5):
        clock, speed = FakeClock(), random.lognormal(0, 0.01)

        def embed(frames: int, clock: FakeClock = clock, speed: float = speed) -> None:
            slow = 3 if random.random() < 0.003 else 1
            clock.sleep(slow * random.lognormal(0, 0.05) * (0.005 + 0.02 * frames) / speed)

        def trial(
            rate: float, seed: int, clock: FakeClock = clock, embed: Callable[[int], None] = embed
        ) -> list[float]:
            served = serve(embed, arrivals(rate, 300 / rate, seed), 8, clock=clock, sleep=clock.sleep)
            return [*served.latency_ms, *[math.inf] * served.unfinished]

        full = 8 / 0.165 * speed
        rate = search_rate(trial, 400, Estimate(value=full, low=0.96 * full, high=1.04 * full))
        assert rate
        found.append(rate.frames_per_s)
    assert all(one.low <= other.value <= one.high for one in found for other in found)
    assert all(0.6 * 8 / 0.165 < one.value < 8 / 0.165 for one in found)
    assert all(one.high / one.low < 2 for one in found)
