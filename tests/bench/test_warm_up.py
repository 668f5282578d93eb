import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from fake_clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from reid.bench.host.warm_up import WarmUp, is_stable, warm_up


def warmed_up(times: Iterable[float], at_most_s: float) -> WarmUp:
    clock = FakeClock()
    left = iter(times)
    return warm_up(lambda: clock.sleep(next(left)), at_most_s, clock)


def test_equal_batches_are_stable_after_six_of_them() -> None:
    assert warmed_up(itertools.repeat(0.125), 10) == WarmUp(6, 0.75, stable=True)


def test_fast_batches_run_for_half_a_second_at_least() -> None:
    found = warmed_up(itertools.repeat(1 / 1024), 10)
    assert found.stable
    assert 0.5 <= found.seconds < 0.7


@given(start=st.floats(1.5, 20), half_life=st.floats(2, 50))
def test_what_becomes_faster_is_stable_only_when_it_hardly_does(start: float, half_life: float) -> None:
    def time(batch: int) -> float:
        return 0.1 * (1 + (start - 1) * 0.5 ** (batch / half_life))

    found = warmed_up(map(time, itertools.count()), 1e6)
    assert found.stable
    assert time(found.batches + found.batches // 3) > 0.9 * time(found.batches)


@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_what_never_settles_is_not_stable(factor: float) -> None:
    found = warmed_up((0.1 * factor**batch for batch in range(10_000)), 2)
    assert not found.stable
    assert found.seconds == pytest.approx(2 + 0.1, abs=0.5)


def test_noise_is_not_waited_for() -> None:
    random = np.random.default_rng(0)
    runs = [warmed_up(iter(0.1 * random.lognormal(0, 0.3, 1000)), 60) for _ in range(100)]
    assert sum(run.stable for run in runs) == 100
    assert np.median([run.batches for run in runs]) < 20


def test_time_counts_from_the_second_batch_on() -> None:
    found = warmed_up(itertools.chain([30.0], itertools.repeat(0.25)), 2)
    assert found.stable
    assert found.batches < 12


def test_a_batch_that_is_longer_than_the_time_is_run_once_more() -> None:
    assert warmed_up(itertools.repeat(5.0), 2) == WarmUp(2, 10.0, stable=False)


def test_the_first_third_does_not_count() -> None:
    assert is_stable([9.0, 5.0, 1.0, 1.0, 1.0, 1.0])
    assert not is_stable([9.0, 5.0, 2.0, 2.0, 1.0, 1.0])
