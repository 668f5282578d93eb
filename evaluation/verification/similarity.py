"""How similar embeddings are to the reference's, over all levels and per level, and how similar they must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.verification.failures import Defect
from reid.evaluation.verification.records import LevelSimilarity, Similarity, Tolerance
from reid.runtime.errors import ModelError
from reid.runtime.galleries.ranking import LENGTH_TOLERANCE, cosine_distance
from reid.runtime.model_card import Level
from reid.runtime.normalization import normalize
from reid.runtime.precision import Precision

__all__ = [
    "EDGES",
    "Judged",
    "compare_embeddings",
    "defect_of",
    "first_level",
    "furthest_level",
    "judged_similarities",
    "required_similarity",
]

EDGES = tuple(float(edge) for edge in np.logspace(-7, 0, 15))
"""The edges of the histogram of `1 - similarity`: two a decade."""

_SMALLEST_SPREAD = 1e-4
"""A model whose frames are more alike than this, or a single frame repeated, is allowed float32's rounding."""


_ENOUGH_FOR_A_SHARE = 100
"""With fewer embeddings, one of 100 is less than one."""


def compare_embeddings(
    reference: NDArray[np.float32], candidate: NDArray[np.float32], levels: Sequence[Level]
) -> Similarity:
    """Compare two models' embeddings of the same frames; one that is not finite counts as opposite, similarity -1.

    Args:
        reference: the reference's embeddings, float32 [n, D], L2-normalized; n at least 1.
        candidate: the candidate's embeddings, float32 [n, D].
        levels: the levels, in the order of their concatenation.

    Raises:
        ModelError: the two have different shapes, or D is not the sum of the levels' sizes.
    """
    sizes = [level.size for level in levels]
    if reference.shape != candidate.shape or reference.shape[1] != sum(sizes):
        raise ModelError(
            f"embeddings {list(candidate.shape)} cannot be compared with {list(reference.shape)} of levels {sizes}: "
            "they come from different models"
        )
    ends = np.cumsum(sizes)
    parts = {"all": slice(None)}
    parts |= {level.name: slice(end - level.size, end) for level, end in zip(levels, ends, strict=True)}
    distances = {name: _normalized_distance(reference[:, part], candidate[:, part]) for name, part in parts.items()}
    bins = np.searchsorted(EDGES, distances["all"], side="right")
    return Similarity(
        frames=len(reference),
        levels=tuple(_summary(name, values) for name, values in distances.items()),
        counts=tuple(np.bincount(bins, minlength=len(EDGES) + 1).tolist()),
        edges=EDGES,
        spread=_spread(reference),
    )


def required_similarity(similarity: Similarity, tolerance: float) -> float:
    """Return the smallest similarity that is within tolerance for this model and these frames.

    Models differ in how far apart they put frames: where any two are 0.98 similar, 0.99 to PyTorch's is half way to
    another vehicle. So the room that the tolerance leaves is a fraction of the spread.

    Args:
        similarity: the comparison, of which `spread` counts.
        tolerance: the similarity that is required in a model of spread 1 (`Tolerance.similarity_of`).
    """
    return 1 - (1 - tolerance) * max(similarity.spread, _SMALLEST_SPREAD)


@dataclass(frozen=True, slots=True)
class Judged:
    """A similarity that decides.

    Attributes:
        share: the share of the embeddings that are at least so similar: 1 for the least similar one.
        value: the cosine similarity.
        required: the smallest that is within tolerance.
        room: how many times the tolerance's room it is allowed.
    """

    share: float
    value: float
    required: float
    room: int = 1


def judged_similarities(precision: Precision, similarity: Similarity, tolerance: Tolerance) -> tuple[Judged, ...]:
    """Return the similarities that decide; the last is the least similar embedding's.

    FP16 rounds all frames alike, and the least similar embedding decides. The errors of INT8 have a long tail: the
    least similar of more embeddings is less similar by chance alone, and a verdict must not depend on how many there
    are. So 99 of 100 decide, and the least similar one is allowed twice the room; of fewer than 100, it decides alone.
    """
    required = required_similarity(similarity, tolerance.similarity_of(precision))
    all_levels = similarity.levels[0]
    if precision != "int8" or similarity.frames < _ENOUGH_FOR_A_SHARE:
        return (Judged(1.0, all_levels.minimum, required),)
    return (
        Judged(0.99, all_levels.first_percentile, required),
        Judged(1.0, all_levels.minimum, 1 - 2 * (1 - required), room=2),
    )


def furthest_level(similarity: Similarity) -> LevelSimilarity:
    """Return the level with the smallest similarity."""
    return min(similarity.levels[1:], key=lambda level: level.minimum)


def first_level(similarity: Similarity, required: float) -> LevelSimilarity | None:
    """Return the first level, in the card's order, that is less similar than required; None where none is."""
    return next((level for level in similarity.levels[1:] if level.minimum < required), None)


def defect_of(embeddings: NDArray[np.float32]) -> Defect | None:
    """Return what makes embeddings, float32 [n, D], unfit for ranking; None where nothing does."""
    broken = int(np.count_nonzero(~np.isfinite(embeddings).all(axis=1)))
    if broken:
        return Defect(frames=len(embeddings), defective=broken)
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    off = np.abs(lengths - 1)
    wrong = int(np.count_nonzero(off > LENGTH_TOLERANCE))
    return Defect(frames=len(embeddings), defective=wrong, length=float(lengths[off.argmax()])) if wrong else None


def _normalized_distance(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is dealt with afterwards
        return cosine_distance(normalize(reference), normalize(candidate))


def _summary(level: str, distances: NDArray[np.float64]) -> LevelSimilarity:
    median, first_percentile, minimum = 1 - np.quantile(distances, (0.5, 0.99, 1))
    return LevelSimilarity(level=level, minimum=minimum, first_percentile=first_percentile, median=median)


def _spread(embeddings: NDArray[np.float32]) -> float:
    """Return the mean of `1 - similarity` over all pairs of different rows, from the length of their mean."""
    count = len(embeddings)
    if count < 2:
        return 1.0
    mean = embeddings.mean(axis=0, dtype=np.float64)
    return max(0.0, float(1 - mean @ mean) * count / (count - 1))
