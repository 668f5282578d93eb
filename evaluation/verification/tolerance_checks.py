"""What is outside tolerance: measurements in, failures out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.verification.failures import Dissimilar, Fallen, LevelMinimum, Unsettled, WrongSums
from reid.evaluation.verification.records import Change, LevelSimilarity, ProtocolComparison, Similarity, Tolerance
from reid.evaluation.verification.similarity import first_level, furthest_level, judged_similarities
from reid.runtime.galleries.ranking import cosine_distance
from reid.runtime.precision import Precision

__all__ = ["check_changes", "check_similarity", "check_sums"]


def check_similarity(precision: Precision, similarity: Similarity, tolerance: Tolerance) -> list[Dissimilar]:
    """Judge the embeddings of all levels together; the levels only say which are to blame."""
    judged = judged_similarities(precision, similarity, tolerance)
    failing = next((one for one in judged if not one.value >= one.required), None)
    if failing is None:
        return []
    first = first_level(similarity, failing.required)
    return [
        Dissimilar(
            precision=precision,
            frames=similarity.frames,
            share=failing.share,
            room=failing.room,
            minimum=failing.value,
            required=failing.required,
            tolerance=tolerance.similarity_of(precision),
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


def check_changes(
    precision: Precision, comparison: ProtocolComparison, tolerance: Tolerance
) -> list[Fallen | Unsettled]:
    """Return a failure for every measure outside tolerance; where that is strict, also for those undecided."""
    refused = ("outside", "undecided") if tolerance.strict else ("outside",)
    return [_failure(precision, comparison, change) for change in comparison.changes if change.verdict in refused]


def _failure(precision: Precision, comparison: ProtocolComparison, change: Change) -> Fallen | Unsettled:
    if change.verdict == "undecided":
        return Unsettled(
            precision=precision,
            protocol=comparison.protocol,
            post_processing=comparison.post_processing,
            metric=change.measure,
            difference=change.difference,
            allowed=change.allowed,
            interval=change.interval,
            queries=comparison.queries,
            settled_by=change.settled_by,
        )
    return Fallen(
        precision=precision,
        protocol=comparison.protocol,
        post_processing=comparison.post_processing,
        metric=change.measure,
        reference=change.reference,
        candidate=change.candidate,
        allowed=change.allowed,
        interval=change.interval,
        queries=comparison.queries,
        p_value=change.p_value,
    )
