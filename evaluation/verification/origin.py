"""Where a precision begins to depart, in words."""

from __future__ import annotations

from reid.evaluation.verification.drift import DRIFT_THRESHOLD, first_drift
from reid.evaluation.verification.records import DriftSearch, LayerDrift, PrecisionVerification, Verification
from reid.evaluation.verification.sentences import first_failure_sentence

__all__ = ["failure_with_origin", "how_sentence", "layer_sentence", "origin_sentence", "threshold_of"]

_MOST_NAMED = 3


def threshold_of(found: PrecisionVerification) -> float:
    """Return the relative error above which a layer of a precision has drifted."""
    return found.drift_search.threshold if found.drift_search else DRIFT_THRESHOLD


def origin_sentence(found: PrecisionVerification) -> str:
    """Return where it begins to depart, in a sentence; empty where nothing was outside tolerance."""
    engine, threshold = found.drift_search, threshold_of(found)
    first = first_drift(found.drift, threshold)
    named = f"the first layer to drift is {layer_sentence(first)}" if first else ""
    named = named or f"no layer drifts by more than {100 * threshold:g} %"
    if engine is None:
        return named if found.drift else ""
    if engine.reason:
        return f"where it departs was not found: {engine.reason}"
    match engine.place:
        case "layer":
            return named
        case "fusion":
            return f"the fault is in what TensorRT fuses across {_names(engine.fused)}"
        case "build":
            return "built again in the same way, the engine is right: build it again"
        case "graph":
            return f"the session gives what its graph gives, in which {named}"


def failure_with_origin(verification: Verification) -> str:
    """Return the first failure in a sentence, how many more there are, and where the precision begins to depart."""
    failing = next(one for one in verification.precisions if one.failures)
    origin = origin_sentence(failing)
    return first_failure_sentence(verification.failures) + (f"; {origin}" if origin else "")


def layer_sentence(layer: LayerDrift) -> str:
    """Return a layer with its operator, its position and its error."""
    error = f"{layer.not_finite:,} values not finite" if layer.not_finite else f"{100 * layer.relative_error:.3g} % off"
    return f"{layer.layer} ({layer.op} at position {layer.position:,}, {error})"


def how_sentence(engine: DriftSearch) -> str:
    """Return how it was found where a session departs, and what that can and cannot say; empty where it was not."""
    if engine.reason:
        return ""
    if engine.place == "graph":
        return "The session gives what its graph gives: these are the graph's layers beside those of the FP32 graph."
    how = (
        f"Another build of this engine gave {engine.marked:,} tensors of layers, which are compared with those of its "
        "graph, by ONNX Runtime on the CPU. TensorRT does not fuse across a tensor that it has to give"
    )
    match engine.place:
        case "layer":
            return f"{how}: a fault of fusion would be gone, and this one is not."
        case "build":
            return (
                f"{how}. That engine is right, and so is one that gives no tensors of layers: only the build that was "
                "judged is wrong, by the kernels that were chosen for it, or what runs it is."
            )
    return (
        f"{how}, and where it gave all of them, the fault was gone. It is there where those of {len(engine.fused):,} "
        f"layers are not given ({engine.builds:,} builds): {', '.join(engine.fused)}. So it is in what TensorRT fuses "
        "across them; the layers below are what comes behind."
    )


def _names(layers: tuple[str, ...]) -> str:
    if len(layers) <= _MOST_NAMED:
        return ", ".join(layers)
    return f"{layers[0]} to {layers[-1]} ({len(layers):,} layers)"
