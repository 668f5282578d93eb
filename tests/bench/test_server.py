import itertools
import statistics

import pytest
from fake_clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from reid.bench.host.server import Served, arrivals, serve


def served(schedule: list[float], most: int, batch_s: float, frame_s: float) -> tuple[Served, list[int]]:
    clock = FakeClock(1000.0)
    sizes = []

    def run(frames: int) -> None:
        sizes.append(frames)
        clock.sleep(batch_s + frames * frame_s)

    return serve(run, schedule, most, clock=clock, sleep=clock.sleep), sizes


def naive(schedule: list[float], most: int, batch_s: float, frame_s: float) -> list[float]:
    """Latencies by the definition, event by event, without an end."""
    queue, free, found = list(schedule), 0.0, []
    while queue:
        start = max(free, queue[0])
        batch = [arrival for arrival in queue if arrival <= start][:most]
        free = start + batch_s + len(batch) * frame_s
        found += [1000 * (free - arrival) for arrival in batch]
        queue = queue[len(batch) :]
    return found


# Multiples of 1/64: sums are exact, so that arriving "at the same moment" means the same to both.
sixty_fourths = st.integers(0, 200).map(lambda number: number / 64)


@given(
    gaps=st.lists(sixty_fourths, min_size=1, max_size=30),
    most=st.integers(1, 8),
    batch_s=sixty_fourths,
    frame_s=st.integers(1, 8).map(lambda number: number / 64),
)
def test_latencies_are_those_of_the_definition(gaps: list[float], most: int, batch_s: float, frame_s: float) -> None:
    schedule = [sum(gaps[: count + 1]) for count in range(len(gaps))]
    found, sizes = served(schedule, most, batch_s, frame_s)
    expected = naive(schedule, most, batch_s, frame_s)
    assert found.latency_ms == pytest.approx(expected[: len(found.latency_ms)])
    assert found.unfinished == len(schedule) - len(found.latency_ms)
    assert max(sizes) <= most
    assert sum(sizes) == len(found.latency_ms)
    if found.unfinished:
        last_arrival = schedule[len(found.latency_ms)]
        assert last_arrival + expected[len(found.latency_ms)] / 1000 > 1.5 * schedule[-1]


def test_a_stall_shows_in_every_frame_that_arrives_meanwhile() -> None:
    clock = FakeClock()
    times = itertools.chain([0.125] * 4, [8.0], itertools.repeat(0.125))
    seconds = [float(one) for one in range(40)]
    found = serve(lambda _: clock.sleep(next(times)), seconds, 8, clock=clock, sleep=clock.sleep)
    meanwhile = [1000 * (12.125 - arrival) for arrival in seconds[5:13]]
    assert found == Served([125.0] * 4 + [8000.0] + meanwhile + [125.0] * 27, 0)


def test_an_overloaded_subject_is_stopped() -> None:
    found, sizes = served([one / 64 for one in range(640)], 1, 0.0, 1.0)
    assert len(sizes) == 15  # a second each, until one and a half times ten seconds
    assert found.unfinished == 625


def test_arrivals_are_a_poisson_process() -> None:
    times = arrivals(50, 200, seed=0)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert times == sorted(times)
    assert 0 < times[0] <= times[-1] < 200
    assert len(times) == pytest.approx(50 * 200, abs=4 * (50 * 200) ** 0.5)
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.04)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.06)  # of an exponential: its mean
    counts = [sum(second <= time < second + 1 for time in times) for second in range(200)]
    assert statistics.variance(counts) == pytest.approx(50, rel=0.4)  # of a Poisson distribution: its mean


def test_a_seed_fixes_the_arrivals_and_a_rate_only_stretches_them() -> None:
    assert arrivals(10, 5, seed=1) == arrivals(10, 5, seed=1) != arrivals(10, 5, seed=2)
    assert arrivals(20, 5, seed=1) == pytest.approx([time / 2 for time in arrivals(10, 10, seed=1)])
    assert len(arrivals(0.001, 1, seed=0)) == 1
