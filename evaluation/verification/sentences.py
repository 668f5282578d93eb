"""What a verification found, in words: for errors, notes and pages alike."""

from __future__ import annotations

from reid.evaluation.verification.failures import Defect, Dissimilar, Failure, Fallen, Told, Unusable, WrongSums
from reid.evaluation.verification.records import EngineFacts, JudgedOn, ReferenceCrops

__all__ = ["data_sentence", "defect_sentence", "engine_sentence", "failure_sentence", "reason"]


def failure_sentence(failure: Failure) -> str:
    """Return a failure in a sentence that begins with the precision."""
    return f"{failure.precision}: {reason(failure)}"


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
        case Told():
            return failure.text


def defect_sentence(defect: Defect) -> str:
    """Return a sentence that says what makes embeddings unfit for ranking."""
    which = f"{defect.defective} of {defect.frames} embeddings"
    if defect.length is None:
        return f"{which} are NaN or infinite: something in the model overflows"
    return f"{which} do not have length 1: the worst has {defect.length:.4g}"


def _dissimilar(failure: Dissimilar) -> str:
    blamed = f"{failure.furthest.level} is the furthest off, {failure.furthest.minimum:.6f}"
    if failure.first is not None and failure.first != failure.furthest:
        blamed += f", and {failure.first.level} the first, {failure.first.minimum:.6f}"
    return (
        f"the least similar of {failure.frames} embeddings has cosine similarity {failure.minimum:.6f} to PyTorch's "
        f"and needs {failure.required:.6f} (tolerance {failure.tolerance:g}, in a model that gives different frames "
        f"{1 - failure.spread:.4f} on average); {blamed}"
    )


def _fallen(failure: Fallen) -> str:
    low, high = failure.interval
    noise = "within" if low <= 0 <= high else "beyond"
    return (
        f"{failure.protocol} {failure.metric} fell by {failure.reference - failure.candidate:.2f} points, from "
        f"{failure.reference:.2f} to {failure.candidate:.2f}, tolerance {failure.allowed:g}; {noise} the noise of "
        f"{failure.queries} queries (95 % interval {low:.2f} to {high:.2f})"
    )


def engine_sentence(engine: EngineFacts | str) -> str:
    """Return a sentence about an engine: what it is, its layers, and whether it ran where it was built."""
    if isinstance(engine, str):  # from version 1 of verification.json
        return engine
    layers = ", ".join(f"{count} in {precision}" for precision, count in engine.layers.items())
    runs = f"not run: {engine.reason}" if engine.reason else "the session checks it when it opens"
    what = f"{engine.precision} for {engine.device} by {engine.flavor} {engine.version}"
    return f"{what}; layers {layers}, by the {engine.source}; {runs}"


def data_sentence(data: JudgedOn) -> str:
    """Return the data on which graphs were compared with PyTorch, in words."""
    if isinstance(data, ReferenceCrops):
        return f"{data.crops} reference crops"
    held_out = ", held-out training vehicles" if data.held_out else ""
    kept = ", same camera: kept" if data.same_camera == "keep" else ""
    return f"{data.query_images} queries of {data.name} ({data.layout}{held_out}{kept})"
