"""What a verification found, in words: for errors, notes and pages alike."""

from __future__ import annotations

from collections.abc import Sequence

from reid.evaluation.verification.failures import (
    Defect,
    Dissimilar,
    Failure,
    Fallen,
    Told,
    Unsettled,
    Unusable,
    WrongSums,
)
from reid.evaluation.verification.records import EngineFacts, JudgedOn, ProtocolComparison, ReferenceCrops, Undecided

__all__ = [
    "data_sentence",
    "defect_sentence",
    "engine_sentence",
    "failure_sentence",
    "first_failure_sentence",
    "ranking_name",
    "reason",
    "undecided_sentence",
]

_TOO_MANY = 10_000_001


def failure_sentence(failure: Failure) -> str:
    """Return a failure in a sentence that begins with the precision."""
    return f"{failure.precision}: {reason(failure)}"


def first_failure_sentence(failures: Sequence[Failure]) -> str:
    """Return the first of at least one failure in a sentence, and how many more there are."""
    first, *others = failures
    return failure_sentence(first) + (f" (and {len(others)} more)" if others else "")


def reason(failure: Failure) -> str:
    """Return a failure in a sentence that does not name the precision, for places that do."""
    match failure:
        case Unusable():
            return f"{defect_sentence(failure.defect)}, so nothing can be ranked by them"
        case Dissimilar():
            return _dissimilar(failure)
        case WrongSums():
            return (
                f"`pooled` is not the sum of the frames' embeddings (similarity {failure.similarity:.6f}, needs "
                f"{failure.required:.6f}): tracklets would be wrong where single frames are right"
            )
        case Fallen():
            return _fallen(failure)
        case Unsettled():
            where = f"{_named(failure.protocol.upper(), failure.post_processing)} {failure.metric}"
            said = _unsettled(
                where, failure.queries, failure.difference, failure.interval, failure.allowed, failure.settled_by
            )
            return f"{said}, and --strict lets nothing pass that is undecided"
        case Told():
            return failure.text


def defect_sentence(defect: Defect) -> str:
    """Return a sentence that says what makes embeddings unfit for ranking."""
    which = f"{defect.defective} of {defect.frames} embeddings"
    if defect.length is None:
        return f"{which} are NaN or infinite: something in the model overflows"
    return f"{which} do not have length 1: the worst has {defect.length:.4g}"


def _dissimilar(failure: Dissimilar) -> str:
    digits = 6 if f"{failure.minimum:.6f}" != f"{failure.required:.6f}" else 9  # never "1.000000 and needs 1.000000"
    blamed = f"{failure.furthest.level} is the furthest off, {failure.furthest.minimum:.{digits}f}"
    if failure.first is not None and failure.first != failure.furthest:
        blamed += f", and {failure.first.level} the first, {failure.first.minimum:.{digits}f}"
    twice = " with twice its room, for a single one" if failure.room == 2 else ""
    least = "the least similar" if failure.share == 1 else f"the least similar of {failure.share:.0%}"
    return (
        f"{least} of {failure.frames} embeddings has cosine similarity {failure.minimum:.{digits}f} to the "
        f"reference's and needs {failure.required:.{digits}f} (tolerance {failure.tolerance:g}{twice}, "
        f"in a model that gives different frames {1 - failure.spread:.4f} on average); {blamed}"
    )


def _fallen(failure: Fallen) -> str:
    low, high = failure.interval
    change = failure.candidate - failure.reference
    moved = f"{'rose' if change > 0 else 'fell'} by {abs(change):.2f} points"
    return (
        f"{_named(failure.protocol, failure.post_processing)} {failure.metric} {moved}, from "
        f"{failure.reference:.2f} to {failure.candidate:.2f}, tolerance {failure.allowed:g}; "
        f"{_chance(failure.p_value)} (95 % interval {low:.2f} to {high:.2f}, {failure.queries:,} queries)"
    )


def _chance(p_value: float | None) -> str:
    if p_value is None:  # from format 2
        return "not tested for chance"
    return f"not chance, p {'< 0.0001' if p_value < 1e-4 else f'= {p_value:.2g}'}"


def ranking_name(comparison: ProtocolComparison) -> str:
    """Return the name of a protocol, and of what was done to its rankings."""
    return _named(comparison.protocol.upper(), comparison.post_processing)


def _named(protocol: str, post_processing: str) -> str:
    return protocol if post_processing == "plain" else f"{protocol} with {post_processing}"


def undecided_sentence(undecided: Sequence[Undecided]) -> str:
    """Return what could not be decided, at least one change, and how many queries would decide it, in a sentence."""
    first, change = max(undecided, key=lambda one: one.change.settled_by or _TOO_MANY)
    others = len(undecided) - 1
    more = f" nor on {others} more" if others else ""
    where = f"{ranking_name(first)} {change.measure}"
    return _unsettled(where, first.queries, change.difference, change.interval, change.allowed, change.settled_by, more)


def _unsettled(
    where: str,
    queries: int,
    difference: float,
    interval: tuple[float, float],
    allowed: float,
    settled_by: int | None,
    more: str = "",
) -> str:
    low, high = interval
    enough = f"about {settled_by:,}" if settled_by else "more than 10 million"
    return (
        f"{queries:,} queries cannot decide on {where} ({difference:+.2f}, 95 % interval {low:.2f} to {high:.2f}, "
        f"tolerance {allowed:g}){more}; {enough} would"
    )


def engine_sentence(engine: EngineFacts | str) -> str:
    """Return a sentence about an engine: what it is, its layers, and what is known of its answers on data."""
    if isinstance(engine, str):  # from version 1 of verification.json
        return engine
    layers = ", ".join(f"{count} in {precision}" for precision, count in engine.layers.items())
    what = f"{engine.precision} for {engine.device} by {engine.flavor} {engine.version}"
    runs = f"; not run: {engine.reason}" if engine.reason and not engine.judged.reason else ""
    return f"{what}; layers {layers}, by the {engine.source}{runs}; {engine.judged.sentence}"


def data_sentence(data: JudgedOn) -> str:
    """Return the data on which graphs were compared with PyTorch, in words."""
    if isinstance(data, ReferenceCrops):
        return f"{data.crops} reference crops"
    held_out = ", held-out training vehicles" if data.held_out else ""
    kept = ", same camera: kept" if data.same_camera == "keep" else ""
    return f"{data.query_images} queries of {data.name} ({data.layout}{held_out}{kept})"
