"""The queries that a model answers worst, with the matches that it found for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reid.evaluation.metrics import Metrics
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData
from reid.runtime.galleries.entry import entry_of
from reid.runtime.galleries.ranked_lists import Match, Ranking
from reid.runtime.galleries.ranking import exact_distances

__all__ = ["WorstQuery", "worst_queries"]


@dataclass(frozen=True, slots=True)
class WorstQuery:
    """A query image and its matches, without those of its own vehicle in its own view, such as its camera.

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
    asked, found = data.labels(PROTOCOLS["i2i"])
    for place in np.argsort(metrics.average_precision, kind="stable")[:count]:
        position = metrics.counted[place]
        query, own = data.query.images[position], (asked.vehicles[position], asked.cameras[position])
        (distances,) = exact_distances(data.matrix([query]), embeddings)
        order = np.argsort(distances, kind="stable").tolist()
        order = [index for index in order if (found.vehicles[index], found.cameras[index]) != own]
        ranked = [Match(entry_of(gallery[index]), float(1 - distances[index])) for index in order]
        first = int(metrics.first_hit[place])
        score = 100 * float(metrics.average_precision[place])
        yield WorstQuery(Ranking(query, tuple(ranked[:matches])), score, ranked[first], first + 1)
