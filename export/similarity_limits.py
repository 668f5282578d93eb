"""The similarity to PyTorch that a session needs to open a bundle: never more than the verification has passed."""

from __future__ import annotations

from collections.abc import Iterable

from reid.evaluation.verification.compare import Comparison
from reid.evaluation.verification.records import Similarity, Tolerance
from reid.evaluation.verification.similarity import judged_similarities
from reid.runtime.precision import Precision
from reid.runtime.self_check import SIMILARITY

__all__ = ["DECODER_ROOM", "similarity_limit", "similarity_limits"]

DECODER_ROOM = 4e-4
"""The most that other decoders and resizes, which may differ by 1 of 255, were measured to cost."""


def similarity_limits(passed: Iterable[Comparison], tolerance: Tolerance) -> dict[Precision, float]:
    """Return the smallest similarity with which a session of each precision opens.

    Args:
        passed: the comparisons of the bundle's graphs with PyTorch, all within tolerance.
        tolerance: the tolerance of the verification.
    """
    return {one.precision: similarity_limit(one.precision, one.crops, tolerance) for one in passed}


def similarity_limit(precision: Precision, crops: Similarity, tolerance: Tolerance) -> float:
    """Return the limit of one precision.

    It is the self-check's own limit as long as the graph itself meets that on the reference crops, with room for other
    decoders: a device on which it does not is at fault. A graph that does not meet it was passed because the tolerance
    allows more, and then the limit is what the verification required of these crops, less the same room.

    Args:
        precision: the precision of the graph.
        crops: the comparison of the reference crops' embeddings.
        tolerance: the tolerance of the verification.
    """
    own = SIMILARITY[precision]
    if crops.levels[0].minimum - DECODER_ROOM >= own:
        return own
    required = judged_similarities(precision, crops, tolerance)[-1].required
    return max(-1.0, min(own, required - DECODER_ROOM))
