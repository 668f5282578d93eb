"""What is outside tolerance, a sentence each: the precision, what fell, from where to where, and what was allowed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.verification.records import ProtocolComparison, Similarity, Tolerance
from reid.evaluation.verification.similarity import first_level, furthest_level, required_similarity
from reid.runtime.galleries.ranking import cosine_distance

__all__ = ["pooling_failures", "retrieval_failures", "similarity_failures"]


def similarity_failures(precision: str, similarity: Similarity, tolerance: Tolerance) -> list[str]:
    """Judge the embeddings by the least similar one; of the levels only say which are to blame."""
    required, smallest = required_similarity(similarity, tolerance), similarity.levels[0].minimum
    if smallest >= required:
        return []
    return [
        f"{precision}: the least similar of {similarity.frames} embeddings has cosine similarity {smallest:.6f} to the "
        f"reference's and needs {required:.6f} (tolerance {tolerance.similarity:g}, in a model that gives different "
        f"frames {1 - similarity.spread:.4f} on average); {_blamed(similarity, tolerance)}"
    ]


def _blamed(similarity: Similarity, tolerance: Tolerance) -> str:
    first, furthest = first_level(similarity, tolerance), furthest_level(similarity)
    blamed = f"{furthest.level} is the furthest off, {furthest.minimum:.6f}"
    return (
        blamed if first is None or first == furthest else f"{blamed}, and {first.level} the first, {first.minimum:.6f}"
    )


def pooling_failures(
    precision: str,
    similarity: Similarity,
    tolerance: Tolerance,
    expected: NDArray[np.float32],
    actual: NDArray[np.float32],
) -> list[str]:
    """Judge sums of tracklets, [T, D]; their length matters too, since those of several batches are added up."""
    length = np.linalg.norm(expected, axis=1, keepdims=True)
    smallest = 1 - cosine_distance(expected / length, actual / length).max()
    required = required_similarity(similarity, tolerance)
    if smallest >= required:
        return []
    return [
        f"{precision}: `pooled` is not the sum of the frames' embeddings (similarity {smallest:.6f}, needs "
        f"{required:.6f}): tracklets would be wrong where single frames are right"
    ]


def retrieval_failures(precision: str, comparison: ProtocolComparison, tolerance: Tolerance) -> list[str]:
    """Judge one protocol: a sentence for every metric that fell by more than the tolerance."""
    return [_fall(precision, comparison, metric, tolerance) for metric in comparison.exceeded]


def _fall(precision: str, comparison: ProtocolComparison, metric: str, tolerance: Tolerance) -> str:
    low, high = comparison.interval[metric]
    noise = "within" if low <= 0 <= high else "beyond"
    return (
        f"{precision}, {comparison.protocol}: {metric} fell by {-comparison.difference[metric]:.2f} points, from "
        f"{comparison.reference[metric]:.2f} to {comparison.candidate[metric]:.2f}, tolerance "
        f"{tolerance.map if metric == 'mAP' else tolerance.rank:g}; {noise} the noise of {comparison.queries} queries "
        f"(95 % interval {low:.2f} to {high:.2f})"
    )
