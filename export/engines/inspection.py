"""Reading the layers of an engine that was just built, from the best source that knows all of its convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from reid.export.engines.layers import summarize_layers
from reid.runtime.engine_card import LayerSummary
from reid.runtime.tensorrt_api import TensorRT

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["Shapes", "decisive", "read_engine"]

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""The name of an input -> the sizes of a batch."""


def read_engine(
    engine: trt.ICudaEngine, api: TensorRT, profiles: Sequence[Shapes], convolutions: frozenset[str]
) -> LayerSummary:
    """Read an engine's layers with its inspector.

    TensorRT 10 keeps the types of tensors of dynamic sizes to itself ("N/A due to dynamic shapes") until it is asked
    about an execution context in which the sizes of a batch are set (IEngineInspector::setExecutionContext). Such a
    context takes memory, and TensorRT-RTX compiles for it, so one is made only where it is needed.

    Args:
        engine: the engine.
        api: its package.
        profiles: the best batch of each profile, in the engine's order.
        convolutions: the names of the graph's convolutions.
    """
    inspector = engine.create_engine_inspector()
    found = summarize_layers(inspector.get_engine_information(api.LayerInformationFormat.JSON), convolutions)
    if not found.unknown_convolutions:
        return found
    told = [_in_profile(engine, api, index, shapes, convolutions) for index, shapes in enumerate(profiles)]
    known = [summary for summary in told if summary is not None]
    return _of_all_profiles(known) if len(known) == len(profiles) else found


def _in_profile(
    engine: trt.ICudaEngine, api: TensorRT, index: int, shapes: Shapes, convolutions: frozenset[str]
) -> LayerSummary | None:
    """Read the layers for a batch of a profile; None where no context can be made, or it refuses the batch."""
    try:
        context = engine.create_execution_context()
        if context is None or (index and not context.set_optimization_profile_async(index, 0)):  # on the default stream
            return None
        if not all(context.set_input_shape(name, sizes) for name, sizes in shapes.items()):
            return None
        context.infer_shapes()
        inspector = engine.create_engine_inspector()
        inspector.execution_context = context  # the bindings do not keep it: this function does
        return summarize_layers(inspector.get_engine_information(api.LayerInformationFormat.JSON), convolutions)
    except RuntimeError:  # which is how the bindings report that a profile cannot be set
        return None


def _of_all_profiles(summaries: Sequence[LayerSummary]) -> LayerSummary:
    """Merge what is known of an engine's profiles, whose kernels are chosen one by one.

    The counts are those of the first. A convolution is in FP32, or unknown, if it is so in any profile, and reads INT8
    if it does so in all of them.
    """
    first, *others = summaries
    if not others:
        return first
    fp32, unknown = {*first.fp32_convolutions}, {*first.unknown_convolutions}
    changes = {
        "fp32_convolutions": fp32.union(*(one.fp32_convolutions for one in others)),
        "int8_convolutions": {*first.int8_convolutions}.intersection(*(one.int8_convolutions for one in others)),
        "unknown_convolutions": unknown.union(*(one.unknown_convolutions for one in others)),
    }
    return first.model_copy(update={name: tuple(sorted(named)) for name, named in changes.items()})


def decisive(read: Sequence[LayerSummary], reasons: Sequence[str]) -> Iterator[LayerSummary]:
    """Give summaries up to the first that knows every convolution, which says why those before it do not decide.

    Args:
        read: what was read, from the best source to the network, which knows everything.
        reasons: the reasons why still better sources were not read.
    """
    said = list(reasons)
    for summary in read:
        yield summary.model_copy(update={"reason": "; ".join(said)})
        if not (unknown := len(summary.unknown_convolutions)):
            return
        convolutions = "1 convolution" if unknown == 1 else f"{unknown} convolutions"
        said.append(f"the {summary.source} does not tell the precision of {convolutions}")
