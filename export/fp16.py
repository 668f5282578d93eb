"""The FP16 graph: its precision is in its types and casts, so that every runtime builds the same.

Backbone and heads run in FP16. Normalization of the input, L2 and pooling over frames stay in FP32, and so do layers
whose values would leave FP16's range; which these are is measured. Inputs and outputs are those of the FP32 graph.

The converters of onnxruntime and onnxconverter-common send every tensor between two FP32 nodes through FP16, where the
very values overflow that the nodes were kept in FP32 for, and give two casts the same name. So the types are assigned
here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from reid.calibration.graph_file import load_graph
from reid.calibration.intermediates import float_tensors, run_with_intermediates
from reid.evaluation.verification.records import LayerInFp32
from reid.export.graphs import check_onnx, save_graph
from reid.runtime.graph_names import BACKBONE, FRAMES, HEADS

__all__ = ["LIMIT", "write_fp16_graph"]

LIMIT = 65504 / 4
"""A layer that meets a larger value in the crops it is measured on stays in FP32: unseen crops may have larger ones."""

ROUNDING_ERROR = 0.01
"""A layer one of whose tensors loses more than this, relatively, stays in FP32: its values are too small for FP16."""

# Operators that are as accurate in FP16 as their inputs are. Sums over many values (means, norms, softmax) are not.
_FP16_OPS = frozenset(
    """
    Add AveragePool Clip Concat Conv Erf Expand Flatten Gather Gelu Gemm HardSigmoid HardSwish Identity LeakyRelu
    MatMul MaxPool Mul Pad ReduceMax Relu Reshape Sigmoid Slice Split Squeeze Sub Tanh Transpose Unsqueeze
    """.split()  # noqa: SIM905 - thirty quotation marks would not make it clearer
)


def write_fp16_graph(fp32: Path, output: Path, frames: NDArray[np.uint8]) -> tuple[LayerInFp32, ...]:
    """Convert an FP32 graph of `export_graph`.

    Args:
        fp32: the FP32 graph.
        output: the file to write the FP16 graph to.
        frames: uint8 [n, 3, H, W], the crops on which the range of the values is measured.

    Returns:
        The layers that had to stay in FP32, with the largest absolute value that they meet, in the order of execution.

    Raises:
        ModelError: the result is not valid ONNX.
    """
    model = load_graph(fp32)
    candidates = {node.name: node for node in _backbone_and_heads(model.graph) if node.op_type in _FP16_OPS}
    in_fp32 = _out_of_range(candidates.values(), _measure(fp32, model, frames))
    _assign_types(model, candidates.keys() - in_fp32.keys())
    check_onnx(model, "the FP16 graph", "export without --fp16 and --int8")
    save_graph(model, output, "fp16")
    return tuple(
        LayerInFp32(layer=node.name, amax=in_fp32[node.name]) for node in model.graph.node if node.name in in_fp32
    )


def _backbone_and_heads(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes between the input's normalization and L2, found by the names of the weights they read."""
    after: set[str] = set()
    for node in graph.node:
        if any(name.startswith(BACKBONE) or name in after for name in node.input):
            after.update(node.output)
    before: set[str] = set()
    for node in reversed(graph.node):
        is_head = any(name.startswith(HEADS) for name in node.input)
        if is_head or before.intersection(node.output):
            before.update(node.input)
            if after.intersection(node.output):
                yield node


@dataclass(frozen=True, slots=True)
class _Range:
    """What FP16 would do to a tensor: its largest absolute value, and the relative error of rounding it."""

    amax: float = 0.0
    error: float = 0.0

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> _Range:
        amax = float(np.abs(values).max(initial=0))
        if not np.isfinite(amax):
            return cls(float(np.finfo(np.float32).max))  # which JSON can hold
        if amax > LIMIT or (norm := float(np.linalg.norm(values))) == 0:
            return cls(amax)
        return cls(amax, float(np.linalg.norm(values - values.astype(np.float16).astype(np.float32))) / norm)

    def joined(self, other: _Range) -> _Range:
        return _Range(max(self.amax, other.amax), max(self.error, other.error))


def _measure(graph: Path, model: ModelProto, frames: NDArray[np.uint8]) -> dict[str, _Range]:
    weights = (tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT)
    ranges = defaultdict(_Range, {tensor.name: _Range.of(numpy_helper.to_array(tensor)) for tensor in weights})
    for name, values in run_with_intermediates(graph, frames):
        ranges[name] = ranges[name].joined(_Range.of(values))
    return ranges


def _out_of_range(nodes: Iterable[NodeProto], ranges: Mapping[str, _Range]) -> dict[str, float]:
    """Return the names of the nodes that FP16 is not good enough for, with the largest value that each meets."""
    found = {}
    for node in nodes:
        met = [ranges[name] for name in (*node.input, *node.output) if name in ranges]
        if any(tensor.amax > LIMIT or tensor.error > ROUNDING_ERROR for tensor in met):
            found[node.name] = max(tensor.amax for tensor in met)
    return found


def _assign_types(model: ModelProto, fp16_nodes: Set[str]) -> None:
    """Make the named nodes FP16, with one cast between a tensor and all nodes that need it in the other type."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    floats = {*float_tensors(model), *weights, *(value.name for value in graph.input if value.name != FRAMES)}
    fp16_tensors = {name for node in graph.node if node.name in fp16_nodes for name in node.output}
    nodes: list[NodeProto] = []
    converted: dict[tuple[str, bool], str] = {}
    for node in graph.node:
        is_fp16 = node.name in fp16_nodes
        for index, name in enumerate(node.input):
            if name not in floats or (name in fp16_tensors) == is_fp16:
                continue
            if (name, is_fp16) not in converted:
                converted[name, is_fp16] = f"{name}_as_{'fp16' if is_fp16 else 'fp32'}"
                if name in weights:
                    graph.initializer.append(_as_fp16(weights[name], converted[name, is_fp16]))
                else:
                    nodes.append(_cast(name, converted[name, is_fp16], is_fp16))
            node.input[index] = converted[name, is_fp16]
        nodes.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    _drop_unused_weights(graph)


def _as_fp16(weight: TensorProto, name: str) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), name)


def _cast(source: str, target: str, is_fp16: bool) -> NodeProto:
    kind = TensorProto.FLOAT16 if is_fp16 else TensorProto.FLOAT
    return helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=kind)


def _drop_unused_weights(graph: GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    remaining = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(remaining)
