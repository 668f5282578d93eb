"""Two ways to do the same in one process, in turns as `reid-bench` takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reid.bench.estimates import estimate, estimate_ratio
from reid.bench.records import Estimate
from reid.bench.report.numbers import estimated
from reid.bench.rounds import take_rounds

__all__ = ["as_text", "compare", "compare_in_turns"]


def compare_in_turns(turns: Mapping[str, Callable[[], float]], seconds: float) -> dict[str, Estimate]:
    """Let two sides take turns, for about so many seconds.

    Args:
        turns: what takes a side's turn and returns how long that took, by the side's name; ours comes first.
        seconds: how long to go on.

    Returns:
        The time of each side, and the "ratio" of ours to the other's: the median of the rounds' ratios.
    """
    return compare(take_rounds([*turns], lambda name: turns[name](), seconds=seconds))


def compare(rounds: Mapping[str, Sequence[float | None]]) -> dict[str, Estimate]:
    """Return what `compare_in_turns` does, of turns that were taken already: the times of each side, by round."""
    figures = {name: estimate([time for time in times if time is not None]) for name, times in rounds.items()}
    ratio = estimate_ratio(*rounds.values())
    assert ratio is not None  # each turn has a figure
    return figures | {"ratio": ratio}


def as_text(title: str, figures: Mapping[str, Estimate]) -> str:
    """Return the figures as a line."""
    return f"{title}: " + ", ".join(f"{name} {estimated(one)}" for name, one in figures.items())
