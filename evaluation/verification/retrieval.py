"""The same queries ranked by two models: metrics with their noise, and the queries that lost the most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.metrics import METRICS, RANKS, Metrics, numbered
from reid.evaluation.protocols import EmbeddedData, Protocol, evaluate_protocol
from reid.evaluation.verification.bootstrap import paired_interval
from reid.evaluation.verification.records import ProtocolComparison, Tolerance, WorstQuery
from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import DistanceBlock, distance_rows, nearest
from reid.runtime.tracklet import Tracklet

__all__ = ["Ranked", "compare_rankings", "rank", "worst_queries"]

SHOWN_MATCHES = 5

_WORTH_SHOWING = 0.05
"""Percentage points of average precision: a query that lost less is not shown."""
_ROUNDING = 1e-9
"""Percentage points: a fall of exactly the tolerance is within it, whatever float64 makes of the difference."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The rankings of one model by one protocol.

    Attributes:
        protocol: the protocol's name.
        queries: the Q counted queries, those that have a right answer.
        gallery: the G gallery entries.
        metrics: the metrics of these queries.
        matches: int64 [Q, SHOWN_MATCHES], the nearest gallery entries, best first, junk left out; -1 where there are
            no more.
    """

    protocol: str
    queries: tuple[Tracklet, ...]
    gallery: tuple[Tracklet, ...]
    metrics: Metrics
    matches: NDArray[np.int64]

    def points(self) -> NDArray[np.float64]:
        """Return each query's share of each of METRICS, in percent, float64 [Q, 4]: the means are the metrics."""
        hits = self.metrics.first_hit[:, None] < np.array(RANKS)
        return 100 * np.column_stack([self.metrics.average_precision, hits])

    def summary(self) -> dict[str, float]:
        """Return METRICS, in percent."""
        summary = self.metrics.summary()
        return {name: float(summary[name]) for name in METRICS}


def rank(data: EmbeddedData, protocol: Protocol) -> Ranked:
    """Rank and score by one protocol. Raises DataError where `evaluate_protocol` does."""
    metrics = evaluate_protocol(data, protocol)
    asked: tuple[Tracklet, ...] = getattr(data.query, protocol.query)
    queries = tuple(asked[position] for position in metrics.counted)
    gallery: tuple[Tracklet, ...] = getattr(data.gallery, protocol.gallery)
    # Junk has the query's vehicle and view: with both in one number, one comparison does for a block.
    views = numbered(*(zip(side.vehicles, side.cameras, strict=True) for side in data.labels(protocol)))
    distances = distance_rows(data.matrix(queries), data.matrix(gallery))
    matches = _first_matches(distances, views[0][metrics.counted], views[1])
    return Ranked(protocol.name, queries, gallery, metrics, matches)


def _first_matches(
    distances: Iterable[DistanceBlock], asked: NDArray[np.int64], found: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the nearest entries of each query that do not have its number; see Ranked."""
    matches = np.full((len(asked), SHOWN_MATCHES), -1, np.int64)
    shown = min(SHOWN_MATCHES, len(found))
    start = 0
    for block in distances:
        rows = slice(start, start := start + len(block))
        block.values[asked[rows, None] == found] = np.inf
        matches[rows, :shown], _ = nearest(block, shown)
    return matches


def compare_rankings(reference: Ranked, candidate: Ranked, tolerance: Tolerance) -> ProtocolComparison:
    """Compare two models' rankings of the same queries in the same gallery; an improvement is not a failure.

    Raises:
        DataError: the queries or the galleries differ, so they cannot be paired.
    """
    if (reference.queries, reference.gallery) != (candidate.queries, candidate.gallery):
        raise DataError(
            f"{reference.protocol}: the models were given different queries or galleries "
            f"({len(reference.queries)} and {len(candidate.queries)} queries are counted, of {len(reference.gallery)} "
            f"and {len(candidate.gallery)} gallery entries); give both the same data"
        )
    differences = candidate.points() - reference.points()
    mean = dict(zip(METRICS, differences.mean(axis=0).tolist(), strict=True))
    bounds = paired_interval(differences).tolist()
    return ProtocolComparison(
        protocol=reference.protocol,
        reference=reference.summary(),
        candidate=candidate.summary(),
        difference=mean,
        interval={name: (low, high) for name, (low, high) in zip(METRICS, bounds, strict=True)},
        exceeded=tuple(name for name in METRICS if -mean[name] > tolerance.room(name) + _ROUNDING),
        first_match_changed=100 * float(np.mean(reference.matches[:, 0] != candidate.matches[:, 0])),
        queries=len(reference.queries),
    )


def worst_queries(reference: Ranked, candidate: Ranked, most: int) -> list[WorstQuery]:
    """Return at most `most` queries that lost average precision, those that lost the most first."""
    before, after = (100 * ranked.metrics.average_precision for ranked in (reference, candidate))
    order = np.argsort(after - before, kind="stable")[:most]
    return [
        WorstQuery(
            protocol=reference.protocol,
            query=_picture(reference.queries[position]),
            average_precision=(float(before[position]), float(after[position])),
            before=_shown(reference, position),
            after=_shown(candidate, position),
        )
        for position in order.tolist()
        if after[position] < before[position] - _WORTH_SHOWING
    ]


def _shown(ranked: Ranked, position: int) -> tuple[tuple[str, bool], ...]:
    vehicle = ranked.queries[position].vehicle
    found = [ranked.gallery[index] for index in ranked.matches[position].tolist() if index >= 0]
    return tuple((_picture(entry), entry.vehicle == vehicle) for entry in found)


def _picture(entry: Tracklet) -> str:
    return str(entry.frames[len(entry.frames) // 2])
