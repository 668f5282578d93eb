"""Which layers of a graph can run in INT8, what they read, and how much of the work is theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from reid.calibration.shapes import tensor_types

__all__ = ["Layer", "Layers", "find_layers", "graph_source"]

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_POOLS = ("ReduceMax", "GlobalMaxPool")


@dataclass(frozen=True, slots=True)
class Layer:
    """What reads one activation in INT8 or not, as the search decides.

    It is a convolution or matrix product of the backbone with constant weights; the addition behind one, which TensorRT
    runs in the same kernel if what is added is INT8, too; or the global max-pooling of a level, which can pick among
    INT8 values as well as among others, so that the level need not be written in FP16 beside.

    Attributes:
        name: PyTorch's name of the module where the graph knows it, else the node's.
        node: name of the graph's node.
        op: Conv, Gemm, MatMul, Add or ReduceMax.
        reads: the tensor that comes in; for an addition, what is added to the layer's output.
        weight: name of the weights' tensor; empty where there are none.
        axis: of the weights, along which the output channels lie.
        macs: multiply-accumulates for one frame.
    """

    name: str
    node: str
    op: str
    reads: str
    weight: str = ""
    axis: int = 0
    macs: int = 0


@dataclass(frozen=True, slots=True)
class Layers:
    """What can be quantized in a graph.

    Attributes:
        layers: in the order of execution.
        macs: of the whole graph for one frame, heads and all.
    """

    layers: tuple[Layer, ...]
    macs: int

    @property
    def tensors(self) -> tuple[str, ...]:
        """Every activation that may have to be quantized, without repetition: what ranges are needed for."""
        return tuple(dict.fromkeys(layer.reads for layer in self.layers))

    def share(self, names: Collection[str]) -> float:
        """Give the named layers' share of all multiply-accumulates, 0 to 1."""
        return sum(layer.macs for layer in self.layers if layer.name in names) / self.macs


def find_layers(model: ModelProto) -> Layers:
    """Find what can be quantized.

    Left out are the heads and whatever works on one position (squeeze-and-excitation): they are a thousandth of the
    work, and the embedding is as fine as they are.

    Args:
        model: the FP32 graph of `reid-export`.
    """
    single = {value.name: _one_frame(value) for value in model.graph.input}
    shapes = {name: known.shape for name, known in tensor_types(model, single).items()}
    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    macs = {node.name: _macs(node, shapes, weights) for node in model.graph.node if node.op_type in _WEIGHTED}
    graph = _Graph(model)
    layers: list[Layer] = []
    added_by: dict[str, Layer] = {}
    for node in model.graph.node:
        if node.name in macs and node.input[1] in weights and _is_worth_it(node, shapes):
            layer = _weighted(node, macs[node.name])
            layers.append(layer)
            added_by |= graph.addition_behind(node, layer, added_by)
        elif node.name in added_by:
            layers.append(added_by[node.name])
        elif node.op_type in _POOLS and len(shapes.get(node.input[0], ())) == 4:
            layers.append(Layer(f"pooling of {node.input[0]}", node.name, node.op_type, node.input[0]))
    return Layers(tuple(layers), sum(macs.values()))


def graph_source(name: str, producers: Mapping[str, NodeProto]) -> str:
    """Follow a tensor's name back through casts to what they cast."""
    while name in producers and producers[name].op_type == "Cast":
        name = producers[name].input[0]
    return name


def _one_frame(value: ValueInfoProto) -> tuple[int, ...]:
    return tuple(dimension.dim_value or 1 for dimension in value.type.tensor_type.shape.dim)


def _macs(node: NodeProto, shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, TensorProto]) -> int:
    if node.input[1] in weights:  # each value of the output is a sum over one output channel's weights
        dims = list(weights[node.input[1]].dims)
        del dims[_output_axis(node)]
        summed = prod(dims)
    else:
        summed = shapes[node.input[0]][-1]
    return int(prod(shapes[node.output[0]]) * summed)


def _output_axis(node: NodeProto) -> int:
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return 0 if transposed else 1
    return 0 if node.op_type == "Conv" else 1


def _is_worth_it(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    if node.input[1].startswith("model.heads."):
        return False
    output = shapes[node.output[0]]
    positions = prod(output[2:]) if node.op_type == "Conv" else prod(output[:-1])
    return positions > 1


def _weighted(node: NodeProto, macs: int) -> Layer:
    weight = node.input[1]
    known = weight.startswith("model.") and weight.endswith(".weight")
    name = weight.removeprefix("model.").removesuffix(".weight") if known else node.name
    return Layer(name, node.name, node.op_type, node.input[0], weight, _output_axis(node), macs)


class _Graph:
    """Who makes and who reads a tensor."""

    def __init__(self, model: ModelProto) -> None:
        self._readers: dict[str, list[NodeProto]] = {}
        self._made: set[str] = set()
        for node in model.graph.node:
            self._made.update(node.output)
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def addition_behind(self, node: NodeProto, layer: Layer, known: Collection[str]) -> dict[str, Layer]:
        """Give the addition that alone reads a layer; of two layers that meet in one, the first has it."""
        output = node.output[0]
        readers = self._readers.get(output, [])
        if len(readers) != 1 or readers[0].op_type != "Add" or readers[0].name in known:
            return {}
        others = [name for name in readers[0].input if name != output and name in self._made]  # no bias
        return {readers[0].name: Layer(f"{layer.name} residual", readers[0].name, "Add", others[0])} if others else {}
