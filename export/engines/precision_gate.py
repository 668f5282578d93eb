"""The gate that an engine's layers have to pass: they run in the precision of its graph."""

from __future__ import annotations

from reid.runtime.engine_card import LayerSummary
from reid.runtime.errors import GateError
from reid.runtime.precision import Precision

__all__ = ["check_precision"]


def check_precision(
    summary: LayerSummary, precision: Precision, in_fp32: frozenset[str], quantized: frozenset[str] = frozenset()
) -> None:
    """Raise GateError where an engine runs convolutions in another precision than its graph.

    A convolution of which the summary does not know the precision neither passes nor fails.

    Args:
        summary: the summary of the engine's layers.
        precision: the precision of the graph.
        in_fp32: the convolutions that may run in FP32 in an engine of lower precision.
        quantized: the convolutions that must read INT8.
    """
    _check_int8(summary, quantized)
    unexpected = [name for name in summary.fp32_convolutions if in_fp32.isdisjoint(name.split(" + "))]
    if precision == "fp32" or not unexpected:
        return
    total = sum(summary.convolutions.values())
    shown = ", ".join(unexpected[:3]) + (", ..." if len(unexpected) > 3 else "")
    raise GateError(
        f"{len(unexpected)} of {total} convolutions run in FP32 ({shown}), according to the {summary.source}, in an "
        f"engine that should be {precision}; precision comes from the graph: make it again with "
        f"`reid-export --{precision}`"
    )


def _check_int8(summary: LayerSummary, quantized: frozenset[str]) -> None:
    reading_int8 = {node for names in summary.int8_convolutions for node in names.split(" + ")}
    if missed := sorted(quantized - reading_int8 - {*summary.unknown_convolutions}):
        shown = ", ".join(missed[:3]) + (", ..." if len(missed) > 3 else "")
        raise GateError(
            f"{len(missed)} of {len(quantized)} convolutions that are INT8 in the graph do not read INT8 ({shown}), "
            f"according to the {summary.source}: build with a higher --optimization-level, or another version of the "
            "builder"
        )
