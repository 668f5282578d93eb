"""Subjects take turns: every cell in every round, none always behind the same other one, for about the time given."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, permutations

from hypothesis import given
from hypothesis import strategies as st

from reid.bench.result import Turn
from reid.bench.rounds import LEAST_ROUNDS, Cell, take_rounds

CELLS = [Cell(subject, frames) for subject in ("a", "b", "c") for frames in (1, 8)]


def turn(seconds: float) -> Turn:
    return Turn(batches=1, wall_s=seconds, cpu_s=0, median_ms=1000 * seconds, slowest_ms=1000 * seconds)


def visits(seconds: float, a_turn_s: Callable[[int], float]) -> tuple[list[Cell], float]:
    """Return the cells in the order in which they took turns, and how long all turns took together."""
    order: list[Cell] = []
    now = 0.0

    def take(cell: Cell) -> Turn:
        nonlocal now
        order.append(cell)
        now += a_turn_s(len(order))
        return turn(a_turn_s(len(order)))

    found = take_rounds(CELLS, take, seconds=seconds, clock=lambda: now)
    assert {len(turns) for turns in found.values()} == {len(order) // len(CELLS)}
    return order, now


@given(st.floats(0.01, 2), st.floats(10, 300))
def test_the_time_is_used_and_not_exceeded_by_more_than_a_round(a_turn_s: float, seconds: float) -> None:
    order, spent = visits(seconds, lambda _: a_turn_s)
    rounds = len(order) / len(CELLS)
    if LEAST_ROUNDS < rounds < 400:
        assert abs(spent - seconds) <= a_turn_s * len(CELLS)


def test_every_cell_has_its_turn_in_every_round() -> None:
    order, _ = visits(10, lambda _: 0.1)
    size = len(CELLS)
    assert all(sorted(order[first : first + size]) == sorted(CELLS) for first in range(0, len(order), size))


def test_every_cell_comes_first_and_behind_every_other_one() -> None:
    order, _ = visits(60, lambda _: 0.1)
    rounds = [order[first : first + len(CELLS)] for first in range(0, len(order), len(CELLS))]
    assert {cells[0] for cells in rounds} == set(CELLS)
    assert {pair for cells in rounds for pair in pairwise(cells)} == set(permutations(CELLS, 2))
    assert visits(60, lambda _: 0.1)[0] == order


def test_a_slow_machine_still_gives_enough_rounds_for_an_interval() -> None:
    order, _ = visits(1, lambda _: 60)
    assert len(order) == LEAST_ROUNDS * len(CELLS)


def test_a_cell_that_fails_keeps_its_place_in_the_rounds() -> None:
    answers = iter([turn(1), None, None, *[None] * 1000])
    found = take_rounds([Cell("a", 1)], lambda _: next(answers), seconds=1, clock=iter(range(10**6)).__next__)
    assert list(found[Cell("a", 1)]) == [turn(1)] + [None] * (LEAST_ROUNDS - 1)


def test_nothing_to_measure_is_no_error() -> None:
    assert take_rounds([], lambda _: None, seconds=1) == {}
