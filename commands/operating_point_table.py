"""The table of operating points that `reid-eval` prints under its metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from reid.evaluation.scored_test_sets import ScoredTestSet
    from reid.runtime.operating_point import Estimate, OperatingPoint

__all__ = ["operating_point_tables"]

_COLUMNS = ("protocol", "ranking", "FMR", "threshold", "true-match rate, %")


def operating_point_tables(scores: Sequence[ScoredTestSet]) -> Iterator[Table]:
    """Yield the table of all test sets' operating points; none where they have none."""
    from rich.table import Table

    named = any(one.name for one in scores)
    table = Table(*(["test set"] if named else []), *_COLUMNS, title=_title(scores), title_justify="left")
    for one in scores:
        for step, protocols in one.operating_points.items():
            for protocol, points in protocols.items():
                for point in points:
                    table.add_row(*([one.name] if named else []), protocol.upper(), step, *_cells(point))
    if table.rows:
        yield table


def _title(scores: Sequence[ScoredTestSet]) -> str:
    reranked = any(step not in one.operating_points for one in scores for step in one.scores if not one.draws)
    others = "; none of re-ranked distances, which have another scale" if reranked else ""
    return f"thresholds at false-match rates (FMR), with 95 % intervals by vehicle{others}"


def _cells(point: OperatingPoint) -> tuple[str, str, str]:
    from reid.runtime.operating_point import rate_name

    name = rate_name(point.false_match_rate)
    if point.threshold is None or point.true_match_rate is None:
        return name, "\N{EN DASH}", "too few vehicles" if point.genuine_pairs else "no pair of one vehicle"
    return name, _with_interval(point.threshold, ".4f"), _with_interval(point.true_match_rate, ".1f")


def _with_interval(estimate: Estimate, places: str) -> str:
    low, high = estimate.interval
    return f"{estimate.value:{places}} [{low:{places}}, {high:{places}}]"
