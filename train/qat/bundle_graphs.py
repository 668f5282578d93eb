"""What a bundle's ONNX graphs tell: weighted layers in order, values of initializers, and where Q/DQ pairs are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from torch import Tensor

from reid.runtime.errors import ModelError
from reid.train.model.architecture import ARCHITECTURE_KEY, Architecture
from reid.train.model.quantization import Quantization

__all__ = ["Graph", "architecture_of", "read_quantization"]

_PRODUCTS = ("Conv", "Gemm", "MatMul")
_MAXIMA = ("ReduceMax", "GlobalMaxPool")


class Graph:
    """An FP32 graph of `reid-export`.

    Attributes:
        products: convolutions and matrix products with constant weights, in the order of execution.
        maxima: the pools that take the largest value, in the order of execution.
        nodes: by name.
        values: of initializers by name.
    """

    def __init__(self, model: ModelProto) -> None:
        self.values = {tensor.name: tensor for tensor in model.graph.initializer}
        self.nodes = {node.name: node for node in model.graph.node}
        self.products = [
            node for node in model.graph.node if node.op_type in _PRODUCTS and node.input[1] in self.values
        ]
        self.maxima = [node for node in model.graph.node if node.op_type in _MAXIMA]
        self._makers = {name: node for node in model.graph.node for name in node.output}

    def maker(self, tensor: str) -> NodeProto | None:
        """Give the node that makes a tensor."""
        return self._makers.get(tensor)

    def value(self, name: str) -> Tensor:
        """Give an initializer's value."""
        return torch.from_numpy(_array(self.values[name]))

    def weight(self, product: NodeProto) -> Tensor:
        """Give a product's weight as PyTorch has it, [outputs, inputs, ...]."""
        weight = self.value(product.input[1])
        transposed = any(attribute.name == "transB" and attribute.i for attribute in product.attribute)
        return weight if product.op_type == "Conv" or transposed else weight.T.contiguous()

    def bias(self, product: NodeProto) -> Tensor | None:
        """Give the bias that a product itself adds, [outputs]; the exporter leaves out one that is 0."""
        return self.value(product.input[2]) if len(product.input) > 2 else None


def _array(tensor: TensorProto) -> NDArray[np.generic]:
    return np.array(numpy_helper.to_array(tensor))  # a copy that may be written to, as PyTorch wants it


def architecture_of(model: ModelProto, source: Path) -> Architecture:
    """Read the architecture that a graph carries; one that carries none has the defaults."""
    text = next((entry.value for entry in model.metadata_props if entry.key == ARCHITECTURE_KEY), "{}")
    return Architecture.from_json(text, source)


def read_quantization(path: Path) -> Quantization:
    """Find the Q/DQ pairs of an INT8 graph.

    Raises:
        ModelError: nothing in it is INT8, or a pair is not of the kind that `reid-export` writes.
    """
    model = onnx.load(path)
    values = {tensor.name: _array(tensor) for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    reads: dict[str, str] = {}
    steps: dict[str, float] = {}
    weights: dict[str, Tensor] = {}
    for node in model.graph.node:
        for name in node.input:
            pair = makers.get(name)
            if pair is None or pair.op_type != "DequantizeLinear":
                continue
            scale = _scale(pair, values, path)
            if (quantizer := makers.get(pair.input[0])) is None:
                weights[node.name] = torch.from_numpy(scale.astype(np.float32))
            else:
                reads[node.name] = quantizer.input[0]
                steps[quantizer.input[0]] = float(scale)
    if not reads:
        raise ModelError(f"{path} has no layer in INT8: there is nothing to train for")
    return Quantization(reads, steps, weights)


def _scale(pair: NodeProto, values: Mapping[str, NDArray[np.generic]], path: Path) -> NDArray[np.generic]:
    scale, zero = (values.get(name) for name in pair.input[1:3])
    if scale is None or zero is None or zero.dtype != np.int8 or zero.any():
        raise ModelError(f"{path}: {pair.name} is not symmetric INT8 with constant scales; export it with reid-export")
    return scale
