"""The Q/DQ graph: explicit, symmetric INT8, in pairs that every runtime reads the same.

A layer in INT8 reads its input through a Q/DQ pair with one scale, and has INT8 weights with a scale for each output
channel. What is added behind it can come through a pair, too, and a level be pooled from the pair that the next layer
reads, so that TensorRT runs convolution, addition and activation as one kernel and hands INT8 to the next. A tensor has
one quantizer, whoever reads it. A layer that is not in INT8 reads what was there before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from reid.calibration.layers import Layer, Layers, graph_source
from reid.calibration.shapes import tensor_types
from reid.runtime.errors import ModelError

__all__ = ["QDQ_OPSET", "quantize", "weight_scales"]

QDQ_OPSET = 19
"""The first in which the scale of a Q/DQ pair may be FP16."""

_LEVELS = 127
_SCALES: dict[int, tuple[float, float]] = {
    TensorProto.FLOAT16: (2.0**-24, 65504.0),
    TensorProto.FLOAT: (2.0**-126, 2.0**127),
}
"""The smallest and the largest of a type: 0 and infinity cannot be divided by."""


def quantize(
    model: ModelProto,
    layers: Layers,
    int8: Collection[str],
    thresholds: Mapping[str, float],
    *,
    scales: Mapping[str, NDArray[np.float32]] | None = None,
) -> ModelProto:
    """Put Q/DQ pairs into a graph.

    Args:
        model: the FP32 graph, or the FP16 graph made from it; is not changed.
        layers: of the FP32 graph.
        int8: names of the layers that run in INT8.
        thresholds: tensor -> largest absolute value that INT8 can give.
        scales: layer -> float32 [output channels], for weights that were trained for them; None takes each channel's
            largest weight.

    Raises:
        ModelError: a tensor has no range.
    """
    result = ModelProto()
    result.CopyFrom(model)
    _raise_opset(result)
    writer = _Writer(result, thresholds)
    for layer in layers.layers:
        if layer.name in int8:
            writer.quantize(layer, (scales or {}).get(layer.name))
    return writer.finish()


def weight_scales(weights: NDArray[np.floating], axis: int) -> NDArray[np.float32]:
    """Give each output channel's scale, float32 [channels]: its largest absolute weight becomes 127."""
    others = tuple(index for index in range(weights.ndim) if index != axis)
    peaks: NDArray[np.float32] = np.abs(weights.astype(np.float32)).max(axis=others)
    return peaks / np.float32(_LEVELS)


def _raise_opset(model: ModelProto) -> None:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = max(entry.version, QDQ_OPSET)


class _Writer:
    """Changes one graph. Nodes are put in their order at the end."""

    def __init__(self, model: ModelProto, thresholds: Mapping[str, float]) -> None:
        self._model = model
        self._thresholds = thresholds
        self._nodes = {node.name: node for node in model.graph.node}
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._kinds = {name: known.kind for name, known in tensor_types(model).items()}
        half = (node for node in model.graph.node if self._kinds[node.output[0]] == TensorProto.FLOAT16)
        self._half = {name for node in half for name in (*node.input, *node.output)}
        self._behind: dict[str, list[NodeProto]] = {}  # tensor -> what goes right behind the node that makes it
        self._first: list[NodeProto] = []
        self._made: dict[tuple[str, int], str] = {}

    def quantize(self, layer: Layer, scales: NDArray[np.float32] | None) -> None:
        """Have a layer read its tensor through the tensor's Q/DQ pair, and its weights as INT8."""
        node = self._nodes[layer.node]
        kind = self._kinds[node.output[0]]
        for index, name in enumerate(node.input):
            if graph_source(name, self._producers) == layer.reads:
                node.input[index] = self._dequantized(layer.reads, kind)
        if layer.weight:
            node.input[1] = self._dequantized_weight(layer, node, scales)

    def _dequantized(self, tensor: str, kind: int) -> str:
        if (tensor, kind) not in self._made:
            own = self._kinds[tensor]
            pair = self._behind.setdefault(tensor, [])
            if not pair:
                inputs = [tensor, self._scale(tensor, own), self._zero_point()]
                pair.append(helper.make_node("QuantizeLinear", inputs, [f"{tensor}_int8"], name=f"q_{tensor}"))
            output = f"{tensor}_dequantized" + ("" if kind == own else f"_{TensorProto.DataType.Name(kind).lower()}")
            inputs = [f"{tensor}_int8", self._scale(tensor, kind), self._zero_point()]
            pair.append(helper.make_node("DequantizeLinear", inputs, [output], name=f"dq_{output}"))
            self._made[tensor, kind] = output
        return self._made[tensor, kind]

    def _scale(self, tensor: str, kind: int) -> str:
        if tensor not in self._thresholds:
            raise ModelError(f"there is no range for {tensor}; calibrate this graph again")
        name = f"{tensor}_scale_{TensorProto.DataType.Name(kind).lower()}"
        # A tensor that is read in both types has one scale, which FP16 can hold.
        strictest = TensorProto.FLOAT16 if tensor in self._half else TensorProto.FLOAT
        value = _usable(np.asarray(self._thresholds[tensor] / _LEVELS, np.float32), strictest)
        self._add(name, value.astype(_dtype(kind)))
        return name

    def _zero_point(self) -> str:
        self._add("int8_zero", np.zeros((), np.int8))
        return "int8_zero"

    def _dequantized_weight(self, layer: Layer, node: NodeProto, given: NDArray[np.float32] | None) -> str:
        kind = self._kinds[node.output[0]]
        output = f"{layer.weight}_dequantized"
        if (layer.weight, kind) in self._made:
            return output
        self._made[layer.weight, kind] = output
        weights = numpy_helper.to_array(self._weights[node.input[1]]).astype(np.float32)
        scales = weight_scales(weights, layer.axis) if given is None else given
        scales = _usable(scales, kind)
        shape = [1] * weights.ndim
        shape[layer.axis] = -1
        steps = np.clip(np.rint(weights / scales.astype(np.float32).reshape(shape)), -_LEVELS, _LEVELS)
        self._add(f"{layer.weight}_int8", steps.astype(np.int8))
        self._add(f"{layer.weight}_scale", scales)
        self._add(f"{layer.weight}_zero", np.zeros(len(scales), np.int8))
        inputs = [f"{layer.weight}_int8", f"{layer.weight}_scale", f"{layer.weight}_zero"]
        self._first.append(
            helper.make_node("DequantizeLinear", inputs, [output], name=f"dq_{layer.weight}", axis=layer.axis)
        )
        return output

    def _add(self, name: str, values: NDArray[np.generic]) -> None:
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(values, name)

    def finish(self) -> ModelProto:
        graph = self._model.graph
        ordered = list(self._first)
        for value in graph.input:
            ordered += self._behind.get(value.name, [])
        for node in graph.node:
            ordered.append(node)
            for name in node.output:
                ordered += self._behind.get(name, [])
        ordered = _without_unused(ordered, {output.name for output in graph.output})
        used = {name for node in ordered for name in node.input}
        del graph.node[:], graph.value_info[:], graph.initializer[:]
        graph.node.extend(ordered)
        graph.initializer.extend(tensor for name, tensor in self._weights.items() if name in used)
        return self._model


def _usable(scales: NDArray[np.float32], kind: int) -> NDArray[Any]:
    """Give scales in a type: the next that are not below, so that what was to be the largest value stays in range.

    What is 0 everywhere gets 1: any will do.
    """
    smallest, largest = _SCALES[kind]
    wanted = np.clip(np.where(scales == 0, np.float32(1), scales), np.float32(smallest), np.float32(largest))
    found = wanted.astype(_dtype(kind))
    above = np.nextafter(found, np.finfo(found.dtype).max)
    return np.asarray(np.where(found.astype(np.float32) < wanted, above, found))


def _dtype(kind: int) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind))


def _without_unused(nodes: list[NodeProto], outputs: set[str]) -> list[NodeProto]:
    """Drop the casts that nobody reads any more."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]
