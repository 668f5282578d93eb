"""The order of the measurements: subjects take turns with every batch size, round after round.

A machine changes its speed from one minute to the next. Measured one after another, a subject would have the machine of
its own minutes; in turns, whatever the machine does hits all of them alike, and what is compared is what was measured
in the same round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from random import Random
from typing import NamedTuple, TypeAlias, TypeVar

from reid.runtime.progress import SILENT, Progress

__all__ = ["LEAST_ROUNDS", "Cell", "Rounds", "take_rounds"]

LEAST_ROUNDS, _MOST_ROUNDS = 5, 400
"""With fewer, the intervals would say next to nothing; with more, they hardly shrink."""


class Cell(NamedTuple):
    """A subject, by name, with a batch size in frames."""

    subject: str
    frames: int


_Side = TypeVar("_Side", bound=Hashable)
_Taken = TypeVar("_Taken")

Rounds: TypeAlias = Mapping[Cell, Sequence[_Taken | None]]
"""What each cell's turns have found, by round; None where it had none."""


def take_rounds(
    cells: Sequence[_Side],
    take_turn: Callable[[_Side], _Taken | None],
    *,
    seconds: float,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.perf_counter,
) -> Mapping[_Side, Sequence[_Taken | None]]:
    """Let every cell take a turn in each round, for about so many seconds, but at least in LEAST_ROUNDS rounds.

    Each round has an order of its own, drawn or the reverse of the one before: a cell comes behind any of the others,
    and inherits the heat and the caches of none of them again and again.

    Args:
        cells: the cells, or whatever else takes turns.
        take_turn: measures one; None for a cell that can take no more turns.
        seconds: how long to go on.
        progress: follows the turns; how many there will be is known after the first round.
        clock: the clock in seconds.
    """
    turns: dict[_Side, list[_Taken | None]] = {cell: [] for cell in cells}

    def take(order: Sequence[_Side]) -> None:
        for cell in order:
            turns[cell].append(take_turn(cell))
            progress.advance()

    progress.begin("first round", len(cells), "turns")
    start = clock()
    take(cells)
    spent = max(clock() - start, 1e-9)
    more = min(max(round(seconds / spent), LEAST_ROUNDS), _MOST_ROUNDS) - 1
    progress.begin("measuring", more * len(cells), "turns")
    random, order = Random(0), list(cells)
    for number in range(1, more + 1):
        order = order[::-1] if number % 2 else random.sample(cells, len(cells))
        take(order)
    return turns
