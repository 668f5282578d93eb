"""Summarize trials as Markdown: mean and spread over seeds, and differences seed by seed.

The spread is the sample standard deviation (over n - 1); with a single seed it is unknown and left out. Differences to
a reference are computed within each seed, because two methods with the same seed share the held-out vehicles and the
order of the batches, and only then averaged.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from result_files import markdown_table

__all__ = ["COLUMNS", "PROTOCOLS", "Spread", "difference", "difference_table", "score_table", "summary"]

PROTOCOLS = ("i2i", "i2t", "t2t")
COLUMNS = ("mAP", "R-1", "R-5")


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation; the deviation of a single value is None."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize at least one value."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def text(self, sign: str = "") -> str:
        """Return text such as ``62.48 ± 0.31``; with the sign "+", positive means carry one."""
        deviation = "" if self.deviation is None else f" ± {self.deviation:.2f}"
        return f"{self.mean:{sign}.2f}{deviation}"


def scores(trials: Mapping[int, Mapping[str, Any]], protocol: str, column: str) -> dict[int, float]:
    """Return a method's score for every seed, in percent; seeds whose data does not serve the protocol are left out."""
    return {
        seed: float(trial["protocols"][protocol][column])
        for seed, trial in trials.items()
        if protocol in trial["protocols"]
    }


def difference(
    trials: Mapping[int, Mapping[str, Any]], reference: Mapping[int, Mapping[str, Any]], protocol: str
) -> list[float]:
    """Return a method's mAP minus the reference's, in points, for every seed that both have."""
    ours, theirs = (scores(side, protocol, "mAP") for side in (trials, reference))
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def summary(trials: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return a method's mean and spread: protocol -> column -> {"mean", "spread"}."""
    summarized: dict[str, dict[str, dict[str, float | None]]] = {}
    for protocol in PROTOCOLS:
        for column in COLUMNS:
            if values := list(scores(trials, protocol, column).values()):
                spread = Spread.of(values)
                row = {"mean": round(spread.mean, 4), "spread": spread.deviation and round(spread.deviation, 4)}
                summarized.setdefault(protocol, {})[column] = row
    return summarized


def score_table(results: Mapping[str, Mapping[int, Mapping[str, Any]]], columns: Sequence[str] = COLUMNS) -> str:
    """Return the poster's table: a row per method, and for each protocol a column per metric."""
    head = ["", *(f"{protocol.upper()} {column}" for protocol in PROTOCOLS for column in columns)]
    rows = [
        [name, *(_cell(list(scores(trials, p, c).values())) for p in PROTOCOLS for c in columns)]
        for name, trials in results.items()
    ]
    return markdown_table(head, rows)


def difference_table(results: Mapping[str, Mapping[int, Mapping[str, Any]]], reference: str) -> str:
    """Return the table of differences in mAP to one method, with the share of seeds in which they are gains."""
    head = [f"mAP minus {reference}'s", *(protocol.upper() for protocol in PROTOCOLS)]
    rows = []
    for name, trials in results.items():
        if name != reference:
            gains = [difference(trials, results[reference], protocol) for protocol in PROTOCOLS]
            rows.append([name, *(_cell(values, "+") + _share(values) for values in gains)])
    return markdown_table(head, rows)


def _cell(values: Sequence[float], sign: str = "") -> str:
    return Spread.of(values).text(sign) if values else "-"


def _share(gains: Sequence[float]) -> str:
    return f" ({sum(gain > 0 for gain in gains)} of {len(gains)})" if gains else ""
