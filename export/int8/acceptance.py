"""What the search for an INT8 graph makes of a comparison: whether it takes the mix, and how near the limits it is."""

from __future__ import annotations

from collections.abc import Iterator

from reid.calibration.search import Evaluation
from reid.evaluation.verification.compare import Comparison
from reid.evaluation.verification.failures import Fallen
from reid.evaluation.verification.records import Change, ProtocolComparison, Tolerance
from reid.evaluation.verification.sentences import failure_sentence
from reid.evaluation.verification.similarity import judged_similarities

__all__ = ["evaluation_of"]

_ROUNDING = 1e-9
"""Percentage points: a fall of exactly the tolerance is within it."""
_LEAST_ROOM = 1e-3
"""Percentage points, or cosine similarity: what stands for a tolerance of 0 in a ratio."""
_MOST_STRAIN = 1e6


def evaluation_of(in_fp16: frozenset[str], found: Comparison, tolerance: Tolerance) -> Evaluation:
    """Judge a mix for the search.

    It is within tolerance if the gate refuses nothing and no mAP is seen to fall by more than the tolerance, whether or
    not so few queries can prove it: mAP changes smoothly, so a mix is not taken because there are few queries. R-k does
    not, and counts only by the gate's test.

    Args:
        in_fp16: the names of the mix's layers in FP16.
        found: the comparison of its graph with PyTorch.
        tolerance: what it was compared with.
    """
    gate = tuple(map(failure_sentence, found.failures))
    fallen = [one for one in found.failures if isinstance(one, Fallen) and one.metric == "mAP"]
    proven = {(one.protocol, one.post_processing) for one in fallen}
    seen = tuple(
        f"int8: {_name(one, change)} fell by {-change.difference:.2f} points, tolerance {change.allowed:g}: perhaps "
        f"the noise of {one.queries} queries, which the search does not rely on"
        for one, change in _mean_average_precisions(found)
        if -change.difference > change.allowed + _ROUNDING and (one.protocol, one.post_processing) not in proven
    )
    return Evaluation(
        in_fp16=tuple(sorted(in_fp16)),
        failures=gate + seen,
        changes={_name(one, change): change.difference for one in found.protocols for change in one.changes},
        similarity=found.similarity.levels[0].minimum,
        strain=_strain(found, tolerance),
        session=found.session,
    )


def _mean_average_precisions(found: Comparison) -> Iterator[tuple[ProtocolComparison, Change]]:
    for one in found.protocols:
        yield from ((one, change) for change in one.changes if change.measure == "mAP")


def _name(one: ProtocolComparison, change: Change) -> str:
    processed = "" if one.post_processing == "plain" else f", {one.post_processing}"
    return f"{one.protocol} {change.measure}{processed}"


def _strain(found: Comparison, tolerance: Tolerance) -> float:
    """Return the largest fraction of a tolerance that is used up; more than 1 is too much, and 0 nothing at all."""
    judged = judged_similarities("int8", found.similarity, tolerance)
    used = [(1 - one.value) / max(1 - one.required, _LEAST_ROOM) for one in judged]
    used += [-change.difference / max(change.allowed, _LEAST_ROOM) for _, change in _mean_average_precisions(found)]
    return min(max(0.0, *used), _MOST_STRAIN)
