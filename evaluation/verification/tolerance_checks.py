"""What is outside tolerance: measurements in, failures out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.verification.failures import Dissimilar, Fallen, LevelMinimum, WrongSums
from reid.evaluation.verification.records import LevelSimilarity, ProtocolComparison, Similarity, Tolerance
from reid.evaluation.verification.similarity import (
    first_level,
    furthest_level,
    required_similarity,
)
from reid.runtime.galleries.ranking import cosine_distance
from reid.runtime.precision import Precision

__all__ = ["check_metrics", "check_similarity", "check_sums"]


def check_similarity(precision: Precision, similarity: Similarity, tolerance: Tolerance) -> list[Dissimilar]:
    """Judge the embeddings by the least similar one; the levels only say which are to blame."""
    own = tolerance.similarity_of(precision)
    required, smallest = required_similarity(similarity, own), similarity.levels[0].minimum
    if smallest >= required:
        return []
    first = first_level(similarity, required)
    return [
        Dissimilar(
            precision=precision,
            frames=similarity.frames,
            minimum=smallest,
            required=required,
            tolerance=own,
            spread=similarity.spread,
            furthest=_minimum(furthest_level(similarity)),
            first=None if first is None else _minimum(first),
        )
    ]


def _minimum(level: LevelSimilarity) -> LevelMinimum:
    return LevelMinimum(level=level.level, minimum=level.minimum)


def check_sums(
    precision: Precision, required: float, expected: NDArray[np.float32], actual: NDArray[np.float32]
) -> list[WrongSums]:
    """Judge sums of tracklets, [T, D]; their length matters too, since those of several batches are added up."""
    length = np.linalg.norm(expected, axis=1, keepdims=True)
    smallest = float(1 - cosine_distance(expected / length, actual / length).max())
    return [] if smallest >= required else [WrongSums(precision=precision, similarity=smallest, required=required)]


def check_metrics(precision: Precision, comparison: ProtocolComparison, tolerance: Tolerance) -> list[Fallen]:
    """Judge one protocol: a failure for every metric that fell by more than the tolerance."""
    return [
        Fallen(
            precision=precision,
            protocol=comparison.protocol,
            metric=metric,
            reference=comparison.reference[metric],
            candidate=comparison.candidate[metric],
            allowed=tolerance.room(metric),
            interval=comparison.interval[metric],
            queries=comparison.queries,
        )
        for metric in comparison.exceeded
    ]
