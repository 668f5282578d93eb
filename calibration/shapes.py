"""Types and shapes of a graph's tensors, inferred without the values of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import onnx
from onnx import ModelProto, helper

__all__ = ["TensorType", "tensor_types"]

_SMALL = 64
"""Number of elements up to which a constant may be a shape, whose values have to be known."""


class TensorType(NamedTuple):
    """An ONNX element type, and a shape in which an unknown size is 0."""

    kind: int
    shape: tuple[int, ...]


def tensor_types(model: ModelProto, inputs: Mapping[str, tuple[int, ...]] = {}) -> dict[str, TensorType]:
    """Return the type and shape of every tensor: inputs, weights and the outputs of nodes.

    Args:
        model: the model; its weights are not copied, which would take most of the time for a large model.
        inputs: the shapes to assume for inputs; those left out stay as free as they are in the model.
    """
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    for value in model.graph.input:
        kind = value.type.tensor_type.elem_type
        given = helper.make_tensor_value_info(value.name, kind, inputs[value.name]) if value.name in inputs else value
        light.graph.input.append(given)
    for tensor in model.graph.initializer:
        if prod(tensor.dims) <= _SMALL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    if not inputs:  # the shapes stored in the model hold for its own inputs only
        light.graph.value_info.extend(model.graph.value_info)
    for value in model.graph.output:
        light.graph.output.append(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None))
    graph = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    types = {tensor.name: TensorType(tensor.data_type, tuple(tensor.dims)) for tensor in model.graph.initializer}
    return types | {
        value.name: TensorType(
            value.type.tensor_type.elem_type,
            tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim),
        )
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
