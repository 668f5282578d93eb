"""The Q/DQ graph: explicit, symmetric INT8, as pairs that every runtime reads in the same way.

A layer in INT8 reads its input through a Q/DQ pair with one scale, and has INT8 weights with a scale for each output
channel. The other summand of a residual addition can come through a pair, too, and a level can be pooled from the pair
that the next layer reads, so that TensorRT runs convolution, addition and activation as one kernel and passes INT8 on
to the next. A tensor has a single quantizer, whatever reads it. A layer that is not in INT8 reads the same tensor as
before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from reid.calibration.int8 import INT8_MAX
from reid.calibration.layers import Layer, QuantizableLayers, graph_source
from reid.calibration.shapes import tensor_types
from reid.runtime.errors import ModelError

__all__ = ["QDQ_OPSET", "channel_scales", "quantize"]

QDQ_OPSET = 19
"""First ONNX opset in which the scale of a Q/DQ pair may be FP16."""

_SCALE_LIMITS: dict[int, tuple[float, float]] = {
    TensorProto.FLOAT16: (2.0**-24, 65504.0),
    TensorProto.FLOAT: (2.0**-126, 2.0**127),
}
"""Smallest and largest scale of a type: 0 and infinity are no divisors."""


def quantize(
    model: ModelProto,
    layers: QuantizableLayers,
    in_int8: Collection[str],
    amax: Mapping[str, float],
    *,
    weight_scales: Mapping[str, NDArray[np.float32]] | None = None,
) -> ModelProto:
    """Return a copy of a graph with Q/DQ pairs in it.

    Args:
        model: the FP32 graph, or the FP16 graph made from it; it is not changed.
        layers: the layers of the FP32 graph.
        in_int8: the names of the layers that run in INT8.
        amax: tensor -> the largest absolute value that INT8 can represent in it.
        weight_scales: layer -> float32 [output channels], the scales that its weights were trained for; a layer that is
            not in it takes each channel's largest weight.

    Raises:
        ModelError: a tensor has no amax.
    """
    result = ModelProto()
    result.CopyFrom(model)
    _raise_opset(result)
    writer = _Writer(result, amax)
    for layer in layers:
        if layer.name in in_int8:
            writer.quantize(layer, (weight_scales or {}).get(layer.name))
    return writer.finish()


def channel_scales(weights: NDArray[np.floating], axis: int) -> NDArray[np.float32]:
    """Return the scale of each output channel, float32 [channels]: its largest absolute weight becomes 127."""
    others = tuple(index for index in range(weights.ndim) if index != axis)
    amax: NDArray[np.float32] = np.abs(weights.astype(np.float32)).max(axis=others)
    return amax / np.float32(INT8_MAX)


def _raise_opset(model: ModelProto) -> None:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = max(entry.version, QDQ_OPSET)


class _Writer:
    """Changes one graph. `finish` puts the nodes in order."""

    def __init__(self, model: ModelProto, amax: Mapping[str, float]) -> None:
        self._model = model
        self._amax = amax
        self._nodes = {node.name: node for node in model.graph.node}
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._kinds = {name: known.kind for name, known in tensor_types(model).items()}
        fp16 = (node for node in model.graph.node if self._kinds[node.output[0]] == TensorProto.FLOAT16)
        self._fp16 = {name for node in fp16 for name in (*node.input, *node.output)}
        self._after: dict[str, list[NodeProto]] = {}  # tensor -> the nodes that go right after the one that computes it
        self._first: list[NodeProto] = []
        self._made: dict[tuple[str, int], str] = {}

    def quantize(self, layer: Layer, weight_scales: NDArray[np.float32] | None) -> None:
        """Make a layer read its input through the input's Q/DQ pair, and its weights as INT8."""
        node = self._nodes[layer.node]
        kind = self._kinds[node.output[0]]
        for index, name in enumerate(node.input):
            if graph_source(name, self._producers) == layer.input:
                node.input[index] = self._dequantized(layer.input, kind)
        if layer.weight:
            node.input[1] = self._dequantized_weight(layer, node, weight_scales)

    def _dequantized(self, tensor: str, kind: int) -> str:
        if (tensor, kind) not in self._made:
            own = self._kinds[tensor]
            pair = self._after.setdefault(tensor, [])
            if not pair:
                inputs = [tensor, self._scale(tensor, own), self._zero_point()]
                pair.append(helper.make_node("QuantizeLinear", inputs, [f"{tensor}_int8"], name=f"q_{tensor}"))
            output = f"{tensor}_dequantized" + ("" if kind == own else f"_{TensorProto.DataType.Name(kind).lower()}")
            inputs = [f"{tensor}_int8", self._scale(tensor, kind), self._zero_point()]
            pair.append(helper.make_node("DequantizeLinear", inputs, [output], name=f"dq_{output}"))
            self._made[tensor, kind] = output
        return self._made[tensor, kind]

    def _scale(self, tensor: str, kind: int) -> str:
        if tensor not in self._amax:
            raise ModelError(f"there is no amax for {tensor}; calibrate this graph again")
        name = f"{tensor}_scale_{TensorProto.DataType.Name(kind).lower()}"
        # A tensor that is read in both types has a single scale, which FP16 can represent.
        strictest = TensorProto.FLOAT16 if tensor in self._fp16 else TensorProto.FLOAT
        value = _usable(np.asarray(self._amax[tensor] / INT8_MAX, np.float32), strictest)
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
        scales = channel_scales(weights, layer.axis) if given is None else given
        scales = _usable(scales, kind)
        shape = [1] * weights.ndim
        shape[layer.axis] = -1
        rounded = np.clip(np.rint(weights / scales.astype(np.float32).reshape(shape)), -INT8_MAX, INT8_MAX)
        self._add(f"{layer.weight}_int8", rounded.astype(np.int8))
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
            ordered += self._after.get(value.name, [])
        for node in graph.node:
            ordered.append(node)
            for name in node.output:
                ordered += self._after.get(name, [])
        ordered = _without_unused(ordered, {output.name for output in graph.output})
        used = {name for node in ordered for name in node.input}
        del graph.node[:], graph.value_info[:], graph.initializer[:]
        graph.node.extend(ordered)
        graph.initializer.extend(tensor for name, tensor in self._weights.items() if name in used)
        return self._model


def _usable(scales: NDArray[np.float32], kind: int) -> NDArray[Any]:
    """Return scales in a type, rounded up, so that the largest value stays within the range.

    A tensor or channel that is 0 everywhere gets the scale 1: any would do.
    """
    smallest, largest = _SCALE_LIMITS[kind]
    wanted = np.clip(np.where(scales == 0, np.float32(1), scales), np.float32(smallest), np.float32(largest))
    found = wanted.astype(_dtype(kind))
    above = np.nextafter(found, np.finfo(found.dtype).max)
    return np.asarray(np.where(found.astype(np.float32) < wanted, above, found))


def _dtype(kind: int) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind))


def _without_unused(nodes: list[NodeProto], outputs: set[str]) -> list[NodeProto]:
    """Drop the casts whose output is no longer read."""
    needed, used = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            used.append(node)
    return used[::-1]
