"""The Q/DQ pairs of a bundle's INT8 graph, and the layers of the PyTorch model that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # comes with onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper
from torch import Tensor

from reid.runtime.errors import ModelError
from reid.runtime.files.reading import read_file
from reid.runtime.sessions.onnx_file import check_onnx_file
from reid.train.model.quantization import Quantization

__all__ = ["GraphLayers", "read_quantization"]

_AT_MOST = (1 << 31) - 1
"""The largest file that protobuf reads."""

_MAX_POOLS = ("ReduceMax", "GlobalMaxPool")


class GraphLayers:
    """The layers of an FP32 graph of `reid-export`, whose nodes the INT8 graph shares.

    A convolution or matrix product is known by its weight: the exporter keeps PyTorch's name of it, even where it folds
    batch normalization into the values.

    Args:
        path: the FP32 graph.

    Attributes:
        max_pools: names of the nodes that take the largest value, in the order of execution.

    Raises:
        ModelError: the file is no graph, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        nodes = _load(path).node
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
        other = next((name for name in self._nodes[addition].input if name != tensor), "")
        producer = self._producers.get(other)
        return self.weight(producer.name if producer else other)


def read_quantization(path: Path) -> Quantization:
    """Read the places and scales of an INT8 graph's Q/DQ pairs.

    Raises:
        ModelError: nothing in the graph is INT8, or a pair is not of the kind that `reid-export` writes.
    """
    graph = _load(path)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    inputs: dict[str, str] = {}
    scales: dict[str, float] = {}
    weight_scales: dict[str, Tensor] = {}
    for node in graph.node:
        for name in node.input:
            pair = producers.get(name)
            if pair is None or pair.op_type != "DequantizeLinear":
                continue
            scale = _scale(pair, constants, path)
            if (quantizer := producers.get(pair.input[0])) is None:
                weight_scales[node.name] = torch.from_numpy(scale)
            elif quantizer.op_type != "QuantizeLinear" or not quantizer.input or scale.size != 1:
                raise _not_ours(pair, path)
            else:
                inputs[node.name] = quantizer.input[0]
                scales[quantizer.input[0]] = scale.item()
    if not inputs:
        raise ModelError(f"{path} has no layer in INT8, so there is nothing to train for")
    return Quantization(inputs, scales, weight_scales)


def _load(path: Path) -> GraphProto:
    """Read a graph from a file that holds all of its weights; see calibration.graph_file, which train may not use."""
    check_onnx_file(path)
    try:
        return onnx.load_model_from_string(read_file(path, at_most=_AT_MOST)).graph
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; export it again with `reid-export`") from None
    except DecodeError:
        raise ModelError(f"{path} is not an ONNX graph, or is damaged; export it again with `reid-export`") from None


def _scale(pair: NodeProto, constants: Mapping[str, TensorProto], path: Path) -> NDArray[np.float32]:
    """Return the scale of a Q/DQ pair, or its scales, float32."""
    try:
        scale, zero = (numpy_helper.to_array(constants[name]) for name in pair.input[1:3])
    except (KeyError, TypeError, ValueError):  # not constant, without a zero point, or damaged
        raise _not_ours(pair, path) from None
    values = np.array(scale, np.float32)  # a copy, because PyTorch wants writable memory
    if zero.dtype != np.int8 or zero.any() or not (np.isfinite(values) & (values > 0)).all():
        raise _not_ours(pair, path)
    return values


def _not_ours(pair: NodeProto, path: Path) -> ModelError:
    return ModelError(f"{path}: {pair.name} is not symmetric INT8 with constant scales; export it with reid-export")
