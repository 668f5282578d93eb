import pytest
from fake_clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from reid.bench.host.timing import Turn, take_turn


def turn_of(times: list[float], seconds: float, busy: float = 1.0) -> Turn:
    """A turn of batches that take these times, then 1 s each; `busy` seconds of CPU time per second."""
    clock = FakeClock(100.0)
    left = iter(times)
    return take_turn(lambda: clock.sleep(next(left, 1.0)), seconds, wall=clock, cpu=lambda: busy * clock.now)


def test_a_short_first_batch_is_not_timed() -> None:
    turn = turn_of([0.0625, 0.25, 0.5], 1.0, busy=2.0)
    assert turn == Turn([250.0, 500.0, 1000.0], 2 * 1.75, 1, 100.0, 101.8125)


def test_a_first_batch_that_is_not_short_is_timed() -> None:
    assert turn_of([0.125, 1.0], 1.0) == Turn([125.0, 1000.0], 1.125, 0, 100.0, 101.125)


def test_a_batch_that_is_longer_than_the_turn_is_the_turn() -> None:
    assert turn_of([3.0], 0.25).wall_ms == [3000.0]


@given(times=st.lists(st.floats(0.001, 2.0), max_size=20), seconds=st.floats(0.01, 5.0))
def test_batches_fill_the_turn_without_gaps_and_only_the_last_one_exceeds_it(
    times: list[float], seconds: float
) -> None:
    turn = turn_of(times, seconds)
    all_times = times + [1.0] * 10
    ran = turn.untimed + len(turn.wall_ms)
    assert turn.wall_ms == pytest.approx([1000 * time for time in all_times[turn.untimed : ran]])
    assert turn.ended - turn.started == pytest.approx(sum(all_times[:ran]))
    assert turn.cpu_s == pytest.approx(sum(turn.wall_ms) / 1000)
    needed = turn.untimed + 1  # one is always timed
    assert ran == needed or sum(all_times[: ran - 1]) < seconds + 1e-9
    assert turn.ended - turn.started >= seconds - 1e-9
