"""The Q/DQ pairs of a bundle's INT8 graph, and the layers of the PyTorch model that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper
from torch import Tensor

from reid.runtime.errors import ModelError
from reid.train.model.quantization import Quantization

__all__ = ["GraphLayers", "read_quantization"]

_MAX_POOLS = ("ReduceMax", "GlobalMaxPool")


class GraphLayers:
    """The layers of an FP32 graph of `reid-export`, whose nodes the INT8 graph shares.

    A convolution or matrix product is known by its weight: the exporter keeps PyTorch's name of it, even where it folds
    batch normalization into the values.

    Args:
        path: the FP32 graph.

    Attributes:
        max_pools: names of the nodes that take the largest value, in the order of execution.
    """

    def __init__(self, path: Path) -> None:
        nodes = onnx.load(path, load_external_data=False).graph.node
        self._path = path
        self._nodes = {node.name: node for node in nodes}
        self._producers = {name: node for node in nodes for name in node.output}
        self.max_pools = [node.name for node in nodes if node.op_type in _MAX_POOLS]

    def is_addition(self, node: str) -> bool:
        """Return whether a node adds two tensors."""
        return node in self._nodes and self._nodes[node].op_type == "Add"

    def weight(self, node: str) -> str:
        """Return the name in the PyTorch model of the weight of a convolution or matrix product.

        Raises:
            ModelError: there is no such node, or the graph does not name its weight, as with transformers.
        """
        inputs = list(self._nodes[node].input) if node in self._nodes else []
        weight = str(inputs[1]) if len(inputs) > 1 else ""
        if not weight.startswith("model."):
            raise ModelError(
                f"{self._path} does not name the weight of {node}; quantization-aware training is for convolutional "
                "networks such as ResNets"
            )
        return weight.removeprefix("model.")

    def weight_of_other_operand(self, addition: str, tensor: str) -> str:
        """Return the name of the weight of the layer that computes an addition's operand other than `tensor`.

        Raises as `weight`.
        """
        other = next(name for name in self._nodes[addition].input if name != tensor)
        producer = self._producers.get(other)
        return self.weight(producer.name if producer else other)


def read_quantization(path: Path) -> Quantization:
    """Read the places and scales of an INT8 graph's Q/DQ pairs.

    Raises:
        ModelError: nothing in the graph is INT8, or a pair is not of the kind that `reid-export` writes.
    """
    model = onnx.load(path)
    values = {tensor.name: _array(tensor) for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    inputs: dict[str, str] = {}
    scales: dict[str, float] = {}
    weight_scales: dict[str, Tensor] = {}
    for node in model.graph.node:
        for name in node.input:
            pair = producers.get(name)
            if pair is None or pair.op_type != "DequantizeLinear":
                continue
            scale = _scale(pair, values, path)
            if (quantizer := producers.get(pair.input[0])) is None:
                weight_scales[node.name] = torch.from_numpy(scale.astype(np.float32))
            else:
                inputs[node.name] = quantizer.input[0]
                scales[quantizer.input[0]] = float(scale)
    if not inputs:
        raise ModelError(f"{path} has no layer in INT8, so there is nothing to train for")
    return Quantization(inputs, scales, weight_scales)


def _array(tensor: TensorProto) -> NDArray[np.generic]:
    return np.array(numpy_helper.to_array(tensor))  # a copy, because PyTorch wants writable memory


def _scale(pair: NodeProto, values: Mapping[str, NDArray[np.generic]], path: Path) -> NDArray[np.generic]:
    scale, zero = (values.get(name) for name in pair.input[1:3])
    if scale is None or zero is None or zero.dtype != np.int8 or zero.any():
        raise ModelError(f"{path}: {pair.name} is not symmetric INT8 with constant scales; export it with reid-export")
    return scale
