"""The INT8 graph of a model that was trained for it, with the layers and scales that it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reid.calibration.graph_file import load_graph
from reid.calibration.int8 import INT8_MAX
from reid.calibration.layers import QuantizableLayers, find_layers
from reid.export.int8.graph import Int8Graph
from reid.export.int8.record import TrainedInt8Record, predicted_speedup
from reid.runtime.errors import ModelError

if TYPE_CHECKING:
    from onnx import ModelProto

    from reid.train.model.quantization import Quantization

__all__ = ["TrainedInt8", "write_trained_int8_graph"]


_REMEDY = "export it with the versions that it was trained with, or train it again"


@dataclass(frozen=True, slots=True)
class TrainedInt8:
    """A request for the INT8 graph that a model was trained for: nothing is calibrated, and nothing searched.

    Attributes:
        quantization: the checkpoint's quantization.
    """

    quantization: Quantization


def write_trained_int8_graph(fp32: Path, fp16: Path, output: Path, quantization: Quantization) -> TrainedInt8Record:
    """Put the Q/DQ pairs that a model was trained with into its FP16 graph.

    Args:
        fp32: the FP32 graph.
        fp16: the FP16 graph made from it, which provides everything that is not in INT8.
        output: the path of the INT8 graph.
        quantization: the quantization, by the names in the graph.

    Raises:
        ModelError: the model was trained with another graph.
    """
    model = load_graph(fp32)
    layers = find_layers(model)
    _check_names(layers, quantization)
    _check_channels(model, layers, quantization)
    weight_scales = {
        layer.name: quantization.weight_scales[layer.node].numpy()
        for layer in layers
        if layer.node in quantization.weight_scales
    }
    amax = {tensor: INT8_MAX * scale for tensor, scale in quantization.scales.items()}
    graph = Int8Graph(load_graph(fp16), layers, amax, weight_scales)
    in_fp16 = tuple(layer.name for layer in layers if layer.node not in quantization.inputs)
    graph.write(output, in_fp16)
    fraction = graph.int8_fraction(in_fp16)
    return TrainedInt8Record(
        in_fp16=in_fp16, int8_percent=100 * fraction, predicted_speedup=predicted_speedup(fraction)
    )


def _check_names(layers: QuantizableLayers, quantization: Quantization) -> None:
    """Compare the names, which PyTorch's exporter gives: another version of it may give others."""
    inputs = {layer.node: layer.input for layer in layers}
    for node, tensor in quantization.inputs.items():
        if inputs.get(node) != tensor:
            raise ModelError(
                f"the model was trained with {tensor} in INT8 for {node}, which its graph does not have; {_REMEDY}"
            )


def _check_channels(model: ModelProto, layers: QuantizableLayers, quantization: Quantization) -> None:
    """Compare the numbers of scales, one for each output channel; what has no weights has none."""
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    for layer in layers:
        scales = quantization.weight_scales.get(layer.node)
        channels = shapes[layer.weight][layer.axis] if layer.weight else 0
        if scales is not None and len(scales) != channels:
            raise ModelError(
                f"the model was trained with {len(scales)} scales for the output channels of {layer.node}, of which "
                f"its graph has {channels}; {_REMEDY}"
            )
