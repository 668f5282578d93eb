"""The same queries ranked by two models, and those that lost the most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.metrics import METRICS, RANKS, Metrics, numbered
from reid.evaluation.operating_points.pair_scores import PairScores, pair_scores
from reid.evaluation.protocols import EmbeddedData, Protocol, evaluate_protocol, protocol_blocks
from reid.evaluation.verification.records import WorstQuery
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.galleries.ranking import DistanceBlock, nearest
from reid.runtime.tracklet import Tracklet

__all__ = ["Ranked", "pairs_of", "rank", "worst_queries"]

SHOWN_MATCHES = 5

_WORTH_SHOWING = 0.05
"""Percentage points of average precision: a query that lost less is not shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The rankings of one model by one protocol.

    Attributes:
        protocol: the protocol's name.
        post_processing: what was done before the ranking.
        queries: the Q counted queries, those that have a right answer.
        gallery: the G gallery entries.
        metrics: the metrics of these queries.
        matches: int64 [Q, SHOWN_MATCHES], the nearest gallery entries, best first, junk left out; -1 where there are
            no more.
        pairs: the scores of all pairs, for operating points; None where the ranking is post-processed, whose scores
            are no similarities.
    """

    protocol: str
    post_processing: PostProcessing
    queries: tuple[Tracklet, ...]
    gallery: tuple[Tracklet, ...]
    metrics: Metrics
    matches: NDArray[np.int64]
    pairs: PairScores | None = None

    def points(self) -> NDArray[np.float64]:
        """Return each query's share of each of METRICS, in percent, float64 [Q, 4]: the means are the metrics."""
        hits = self.metrics.first_hit[:, None] < np.array(RANKS)
        return 100 * np.column_stack([self.metrics.average_precision, hits])

    def summary(self) -> dict[str, float]:
        """Return METRICS, in percent."""
        summary = self.metrics.summary()
        return {name: float(summary[name]) for name in METRICS}


def rank(data: EmbeddedData, protocol: Protocol, post_processing: PostProcessing = PLAIN) -> Ranked:
    """Rank and score by one protocol. Raises DataError where `evaluate_protocol` does."""
    metrics = evaluate_protocol(data, protocol, post_processing)
    asked: tuple[Tracklet, ...] = getattr(data.query, protocol.query)
    queries = tuple(asked[position] for position in metrics.counted)
    gallery: tuple[Tracklet, ...] = getattr(data.gallery, protocol.gallery)
    # Junk has the query's vehicle and view: with both in one number, one comparison does for a block.
    views = numbered(*(zip(side.vehicles, side.cameras, strict=True) for side in data.labels(protocol)))
    # All queries, also those that are not counted: re-ranking depends on them.
    matches = _first_matches(protocol_blocks(data, protocol, post_processing), *views)[metrics.counted]
    pairs = pair_scores(data, protocol) if post_processing == PLAIN else None
    return Ranked(protocol.name, post_processing, queries, gallery, metrics, matches, pairs)


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


def pairs_of(rankings: Iterable[Ranked]) -> dict[str, PairScores]:
    """Return, by protocol, the scores of all pairs that are known."""
    return {one.protocol: one.pairs for one in rankings if one.pairs is not None}


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
