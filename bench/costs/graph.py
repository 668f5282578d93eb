"""What the layers of a graph cost: floating-point operations, and the bytes that they move, by type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from reid.bench.costs.onnx_graph import Node, OnnxGraph, Tensor
from reid.bench.costs.record import GraphCost, LayerCost
from reid.runtime.precision import Precision

__all__ = ["graph_cost"]

_PRODUCTS = ("Conv", "Gemm", "MatMul")
_VIEWS = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
_ELEMENTWISE = (
    *("Add", "Cast", "Clip", "Div", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Max", "Min", "Mul"),
    *("Neg", "PRelu", "Pow", "QuantizeLinear", "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh"),
)
_INTEGER_TYPES = ("int8", "uint8")
_FLOATING: dict[str, Precision] = {"float16": "fp16", "bfloat16": "fp16"}


def graph_cost(path: Path) -> GraphCost:
    """Count what a graph costs for one frame, in a batch of one frame and one tracklet.

    FLOPs are those of convolutions and matrix products, a multiplication and an addition being two, as PyTorch's and
    other counters have it; what is elementwise, pools or normalizes counts for its bytes alone, which limit it.

    Bytes are those that an engine moves which fuses as TensorRT and OpenVINO do: an elementwise node belongs to the
    layer that gives its input, if nothing else reads that input; so a sum belongs to the later of its two
    convolutions, which reads the other's result. A pair of Q and DQ around a tensor means that it is stored in 8 bits:
    Q belongs to the layer that it quantizes, DQ costs nothing. A layer reads each input once and writes each
    output that others read; weights are read once a batch. A convolution or product whose operands are both stored
    in 8 bits computes in INT8.

    Args:
        path: a graph as `reid-export` writes it.

    Raises:
        ModelError: the file cannot be read, or is no graph.
        SessionError: ONNX Runtime is too old for the graph.
    """
    layers = _Fusion(OnnxGraph.read(path)).layers()
    return GraphCost(
        flops=sum(layer.flops for layer in layers),
        weight_bytes=sum(layer.weight_bytes for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
        layers=tuple(layers),
    )


@dataclass(slots=True, eq=False)
class _Group:
    """Nodes that an engine runs as one layer: a product or another node first, elementwise ones behind it."""

    nodes: list[Node]
    reads: dict[str, None] = field(default_factory=dict)
    writes: dict[str, None] = field(default_factory=dict)


class _Fusion:
    """The nodes of a graph in groups.

    Tensors have the name under which they are stored: what DQ gives is its input, and a view is what it shows.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self._tensors = graph.tensors
        self._constants = set(graph.constants)
        self._stored: dict[str, str] = {}
        self._group_of: dict[str, _Group] = {}
        self._groups: list[_Group] = []
        nodes = [node for node in graph.nodes if not self._costs_nothing(node)]
        self._outputs = {self._name(name) for name in graph.outputs}
        self._readers = Counter(name for node in nodes for name in set(self._inputs(node)))
        for node in nodes:
            self._place(node)

    def layers(self) -> list[LayerCost]:
        """Return the groups' costs, in the order of execution."""
        return [self._cost(group) for group in self._groups]

    def _costs_nothing(self, node: Node) -> bool:
        """Note a node that is no work when the graph runs: it is computed once, or renames a tensor."""
        inputs = [self._name(name) for name in node.inputs if name]
        if node.op in (*_VIEWS, "DequantizeLinear"):
            self._stored[node.outputs[0]] = inputs[0]
            return True
        if node.op == "Shape" or all(name in self._constants for name in inputs):
            self._constants.update(node.outputs)
            return True
        return False

    def _place(self, node: Node) -> None:
        group = self._joined(node)
        if group is None:
            group = _Group([])
            self._groups.append(group)
        group.nodes.append(node)
        group.reads |= dict.fromkeys(name for name in self._inputs(node) if self._group_of.get(name) is not group)
        for name in node.outputs:
            group.writes[name] = None
            self._group_of[name] = group

    def _joined(self, node: Node) -> _Group | None:
        """Return the group that a node belongs to: the last of those that give it something; None for a new one."""
        if node.op not in _ELEMENTWISE:
            return None
        alone = node.op != "QuantizeLinear"  # which the layer does that gives its input, whoever reads that besides
        givers = [
            self._group_of[name]
            for name in self._inputs(node)
            if name in self._group_of and not (alone and (self._readers[name] > 1 or name in self._outputs))
        ]
        return max(givers, key=self._groups.index, default=None)

    def _cost(self, group: _Group) -> LayerCost:
        first = group.nodes[0]
        reads = [self._tensors[name] for name in group.reads if name in self._tensors]
        inside = Counter(name for node in group.nodes for name in set(self._inputs(node)))
        written = [name for name in group.writes if self._readers[name] > inside[name] or name in self._outputs]
        weights = [name for node in group.nodes for name in self._weights(node)]
        return LayerCost(
            name=first.name,
            op=first.op,
            flops=self._flops(first),
            weight_bytes=_nbytes(self._tensors[name] for name in dict.fromkeys(weights)),
            activation_bytes=_nbytes(reads) + _nbytes(self._tensors[name] for name in written if name in self._tensors),
            precision=self._precision(first),
        )

    def _flops(self, node: Node) -> int:
        if node.op not in _PRODUCTS:
            return 0
        left, right = (self._tensors[name].shape for name in node.inputs[:2])
        # Of a convolution's kernel, one output reads [channels / groups, height, width]; of a row, its length.
        products = right[1:] if node.op == "Conv" else left[-1:]
        result = 2 * self._tensors[node.outputs[0]].elements
        for size in products:
            result *= size
        return result

    def _precision(self, node: Node) -> Precision:
        operands = [name for name in node.inputs[: 2 if node.op in _PRODUCTS else 1] if name]
        types = [self._tensors[name].type for name in map(self._name, operands) if name in self._tensors]
        if types and all(kind in _INTEGER_TYPES for kind in types) and node.op not in ("Cast", "QuantizeLinear"):
            return "int8"
        computed = self._tensors.get(node.inputs[0], self._tensors[node.outputs[0]]).type
        return _FLOATING.get(computed, "fp32")

    def _inputs(self, node: Node) -> list[str]:
        """Return the stored names of the activations that a node reads."""
        found = [self._name(name) for name in _operands(node)]
        return [name for name in found if name not in self._constants]

    def _weights(self, node: Node) -> list[str]:
        found = [self._name(name) for name in _operands(node)]
        return [name for name in found if name in self._constants and name in self._tensors]

    def _name(self, name: str) -> str:
        return self._stored.get(name, name)


def _operands(node: Node) -> list[str]:
    """Return the names of what a node reads; of Q's inputs, the scale and the zero point are no data."""
    return [name for name in (node.inputs[:1] if node.op == "QuantizeLinear" else node.inputs) if name]


def _nbytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
