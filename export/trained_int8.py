"""The INT8 graph of a model that was trained for it: the places and scales are those that it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
from pydantic import BaseModel, ConfigDict

from reid.calibration.layers import Layers, find_layers
from reid.calibration.quantize import quantize
from reid.export.int8 import predicted_speedup
from reid.runtime.errors import ModelError
from reid.train.model.quantization import Quantization

__all__ = ["TrainedInt8", "TrainedInt8Record", "write_trained_int8_graph"]

_STEPS = 127


@dataclass(frozen=True, slots=True)
class TrainedInt8:
    """Asks for the INT8 graph that a model was trained for: nothing is calibrated, and nothing searched.

    Attributes:
        quantization: of the checkpoint.
    """

    quantization: Quantization


class TrainedInt8Record(BaseModel):
    """How a bundle's INT8 graph came about.

    Attributes:
        format_version: of this record.
        scales: where they come from.
        kept_in_fp16: the layers that are not in INT8, in the order of execution.
        int8_share: of all multiply-accumulates, in percent.
        predicted_speedup: over the FP16 graph, if multiply-accumulates are all that takes time: an upper bound.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = 1
    scales: Literal["trained"] = "trained"
    kept_in_fp16: tuple[str, ...]
    int8_share: float
    predicted_speedup: float


def write_trained_int8_graph(fp32: Path, fp16: Path, output: Path, quantization: Quantization) -> TrainedInt8Record:
    """Put the Q/DQ pairs that a model was trained with into its FP16 graph.

    Args:
        fp32: the FP32 graph.
        fp16: the FP16 graph made from it, which gives all that is not in INT8.
        output: where the INT8 graph goes.
        quantization: by the names in the graph.

    Raises:
        ModelError: the model was trained with another graph.
    """
    layers = find_layers(onnx.load(fp32))
    _check(layers, quantization)
    int8 = [layer.name for layer in layers.layers if layer.node in quantization.inputs]
    thresholds = {tensor: _STEPS * scale for tensor, scale in quantization.scales.items()}
    scales = {
        layer.name: quantization.weight_scales[layer.node].numpy()
        for layer in layers.layers
        if layer.node in quantization.weight_scales
    }
    onnx.save(quantize(onnx.load(fp16), layers, int8, thresholds, scales=scales), output)
    share = layers.share(int8)
    return TrainedInt8Record(
        kept_in_fp16=tuple(layer.name for layer in layers.layers if layer.name not in int8),
        int8_share=100 * share,
        predicted_speedup=predicted_speedup(share),
    )


def _check(layers: Layers, quantization: Quantization) -> None:
    """Compare by names, which the exporter gives: another version of it may give others."""
    reads = {layer.node: layer.reads for layer in layers.layers}
    for node, tensor in quantization.inputs.items():
        if reads.get(node) != tensor:
            raise ModelError(
                f"the model was trained with {tensor} in INT8 for {node}, which its graph does not have; "
                "export it with the versions that it was trained with, or train it again"
            )
