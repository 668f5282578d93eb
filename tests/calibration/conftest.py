"""A real graph with its layers and the amax of their inputs, the same made hostile, and small graphs made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from reid.calibration.amax import TensorAmax, collect_amax
from reid.calibration.layers import QuantizableLayers, find_layers
from reid.runtime.bundle import graph_file

Node: TypeAlias = tuple[str, list[str], str, dict[str, Any]]


@pytest.fixture(scope="session")
def graph(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The FP32 graph of a ResNet10-T of two levels, 64 x 64 pixels.

    An untrained ResNet's residual branches end in weights of 0; here they have others.
    """
    model, random = onnx.load(bundle / graph_file("fp32")), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4 and not numpy_helper.to_array(tensor).any():
            weights = random.normal(0, np.sqrt(2 / np.prod(tensor.dims[1:])), tensor.dims).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def model(graph: Path) -> ModelProto:
    return onnx.load(graph)


@pytest.fixture(scope="session")
def layers(model: ModelProto) -> QuantizableLayers:
    return find_layers(model)


@pytest.fixture(scope="session")
def frames() -> NDArray[np.uint8]:
    """Smooth pictures: noise has no structure that a range could miss."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=2).repeat(8, axis=3))


@pytest.fixture(scope="session")
def tensors(graph: Path, frames: NDArray[np.uint8], layers: QuantizableLayers) -> dict[str, TensorAmax]:
    return collect_amax(graph, [frames], set(layers.inputs))


@pytest.fixture(scope="session")
def amax(tensors: dict[str, TensorAmax]) -> dict[str, float]:
    return {name: found.by_method["max"].value for name, found in tensors.items()}


def graph_of(*nodes: Node, weights: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> ModelProto:
    """A graph of nodes (op, inputs, output, attributes), named after their outputs, from x to the last output."""
    made = [helper.make_node(op, inputs, [output], name=f"n_{output}", **more) for op, inputs, output, more in nodes]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape]),
        helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, [None] * len(shape) + [None]),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    proto = helper.make_graph(made, "by hand", ends[:1], ends[1:], tensors)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def scaled(model: ModelProto, first: str, second: str, factor: float, channel: int | slice = slice(None)) -> ModelProto:
    """Scale output channels of a convolution, and undo it in the next, after a ReLU: the same function in FP32."""
    changed = ModelProto()
    changed.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in changed.graph.initializer}
    (node,) = (node for node in changed.graph.node if f"{first}.weight" in node.input)
    spots: list[tuple[str, Any, float]] = [(name, channel, factor) for name in node.input[1:]]
    for name, where, by in [*spots, (f"{second}.weight", (slice(None), channel), 1 / factor)]:
        values = numpy_helper.to_array(weights[name]).copy()
        values[where] *= np.float32(by)
        weights[name].CopyFrom(numpy_helper.from_array(values, name))
    return changed
