"""Which layers of a graph can run in INT8, what their inputs are, and how much of the work they do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from reid.calibration.shapes import tensor_types
from reid.runtime.graph_names import HEADS

__all__ = ["Layer", "QuantizableLayers", "find_layers", "graph_source"]

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_POOLS = ("ReduceMax", "GlobalMaxPool")


@dataclass(frozen=True, slots=True)
class Layer:
    """An operation that reads one activation either in INT8 or not, as the search decides.

    It is a convolution or matrix product of the backbone with constant weights; the residual addition after one, which
    TensorRT runs in the same kernel if the other summand is INT8, too; or the global max-pooling of a level, which can
    choose among INT8 values as well as among others, so that the level need not be written in FP16 as well.

    Attributes:
        name: PyTorch's name of the module if the graph knows it, otherwise the node's name.
        node: the name of the graph's node.
        op: the node's type: Conv, Gemm, MatMul, Add, ReduceMax or GlobalMaxPool.
        input: the name of the activation; for an addition, of what is added to the output of the layer before it.
        weight: the name of the weights' tensor; empty if there is none.
        axis: the axis of the weights along which the output channels lie.
        macs: the number of multiply-accumulates for one frame.
    """

    name: str
    node: str
    op: str
    input: str
    weight: str = ""
    axis: int = 0
    macs: int = 0


@dataclass(frozen=True, slots=True)
class QuantizableLayers:
    """The layers of a graph that can be quantized; iterates over them.

    Attributes:
        in_order: the layers in the order of execution.
        macs: the number of multiply-accumulates of the whole graph for one frame, heads included.
    """

    in_order: tuple[Layer, ...]
    macs: int

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.in_order)

    def __len__(self) -> int:
        return len(self.in_order)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers, in the order of execution."""
        return tuple(layer.name for layer in self)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all activations that may have to be quantized, each once: the tensors whose amax is needed."""
        return tuple(dict.fromkeys(layer.input for layer in self))

    def fraction(self, names: Collection[str]) -> float:
        """Return the named layers' fraction of all multiply-accumulates, 0 to 1."""
        return sum(layer.macs for layer in self if layer.name in names) / self.macs


def find_layers(model: ModelProto) -> QuantizableLayers:
    """Find the layers that can be quantized.

    The heads and everything that works on a single position (squeeze-and-excitation) are left out: they are a
    thousandth of the work, and the embedding is only as precise as they are.

    Args:
        model: the FP32 graph of `reid-export`.
    """
    single = {value.name: _one_frame(value) for value in model.graph.input}
    shapes = {name: known.shape for name, known in tensor_types(model, single).items()}
    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    macs = {node.name: _macs(node, shapes, weights) for node in model.graph.node if node.op_type in _WEIGHTED}
    readers = _Readers(model)
    layers: list[Layer] = []
    residual_adds: dict[str, Layer] = {}
    for node in model.graph.node:
        if node.name in macs and node.input[1] in weights and _is_worth_it(node, shapes):
            layer = _weighted(node, macs[node.name])
            layers.append(layer)
            residual_adds |= readers.residual_add(node, layer, residual_adds)
        elif node.name in residual_adds:
            layers.append(residual_adds[node.name])
        elif node.op_type in _POOLS and len(shapes.get(node.input[0], ())) == 4:
            layers.append(Layer(f"pooling of {node.input[0]}", node.name, node.op_type, node.input[0]))
    return QuantizableLayers(tuple(layers), sum(macs.values()))


def graph_source(name: str, producers: Mapping[str, NodeProto]) -> str:
    """Return the name of the tensor that a chain of casts starts from; a tensor that is no cast's output is its own."""
    while name in producers and producers[name].op_type == "Cast":
        name = producers[name].input[0]
    return name


def _one_frame(value: ValueInfoProto) -> tuple[int, ...]:
    return tuple(dimension.dim_value or 1 for dimension in value.type.tensor_type.shape.dim)


def _macs(node: NodeProto, shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, TensorProto]) -> int:
    if node.input[1] in weights:  # each value of the output is a sum over the weights of one output channel
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
    if node.input[1].startswith(HEADS):
        return False
    output = shapes[node.output[0]]
    positions = prod(output[2:]) if node.op_type == "Conv" else prod(output[:-1])
    return positions > 1


def _weighted(node: NodeProto, macs: int) -> Layer:
    weight = node.input[1]
    known = weight.startswith("model.") and weight.endswith(".weight")
    name = weight.removeprefix("model.").removesuffix(".weight") if known else node.name
    return Layer(name, node.name, node.op_type, node.input[0], weight, _output_axis(node), macs)


class _Readers:
    """The nodes that read each tensor."""

    def __init__(self, model: ModelProto) -> None:
        self._readers: dict[str, list[NodeProto]] = {}
        self._computed: set[str] = set()
        for node in model.graph.node:
            self._computed.update(node.output)
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def residual_add(self, node: NodeProto, layer: Layer, known: Collection[str]) -> dict[str, Layer]:
        """Return the addition that is the only reader of a layer; if two layers meet in one, the first one has it."""
        output = node.output[0]
        readers = self._readers.get(output, [])
        if len(readers) != 1 or readers[0].op_type != "Add" or readers[0].name in known:
            return {}
        others = [name for name in readers[0].input if name != output and name in self._computed]  # not a bias
        return {readers[0].name: Layer(f"{layer.name} residual", readers[0].name, "Add", others[0])} if others else {}
