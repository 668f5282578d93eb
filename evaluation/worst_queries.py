"""The queries that a model answers worst, with the matches that it found for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reid.evaluation.metrics import Metrics
from reid.evaluation.protocols import EmbeddedData
from reid.runtime.galleries.ranked_lists import Match, Ranking
from reid.runtime.galleries.ranking import exact_distances
from reid.runtime.tracklet import Tracklet

__all__ = ["WorstQuery", "worst_queries"]


@dataclass(frozen=True, slots=True)
class WorstQuery:
    """A query image and its matches, without those of its own vehicle in its own camera.

    Attributes:
        ranking: the query and its first matches.
        average_precision: the average precision of the query, in percent.
        first_right: the nearest right answer.
        first_right_rank: the rank of the nearest right answer, from 1.
    """

    ranking: Ranking
    average_precision: float
    first_right: Match
    first_right_rank: int


def worst_queries(data: EmbeddedData, metrics: Metrics, *, count: int, matches: int) -> Iterator[WorstQuery]:
    """Yield the queries with the lowest average precision, the worst first.

    Args:
        data: the result of embed_data.
        metrics: the image-to-image metrics of `data`.
        count: the number of queries to yield.
        matches: the number of matches to keep for each.
    """
    gallery = data.gallery.images
    embeddings = data.matrix(gallery)
    for place in np.argsort(metrics.average_precision, kind="stable")[:count]:
        query = data.query.images[metrics.counted[place]]
        (distances,) = exact_distances(data.matrix([query]), embeddings)
        order = np.argsort(distances, kind="stable")
        ranked = [Match(gallery[index], float(1 - distances[index])) for index in order]
        ranked = [match for match in ranked if not _is_junk(query, match.tracklet)]
        first = int(metrics.first_hit[place])
        score = 100 * float(metrics.average_precision[place])
        yield WorstQuery(Ranking(query, tuple(ranked[:matches])), score, ranked[first], first + 1)


def _is_junk(query: Tracklet, entry: Tracklet) -> bool:
    """Return whether the metrics leave an entry out; to them, all unknown cameras are one camera."""
    return (query.vehicle, query.camera) == (entry.vehicle, entry.camera)
