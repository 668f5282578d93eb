"""A graph as its file describes it: nodes, constants, and the shape and type of every tensor. Needs no onnx."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import ModelError
from reid.runtime.files.protobuf import BYTES, VARINT, bytes_field, bytes_of, fields, text_of, texts_of
from reid.runtime.files.reading import read_file
from reid.runtime.sessions.library import graph_refused
from reid.runtime.sessions.onnx_file import check_onnx_file
from reid.runtime.sessions.onnxruntime import import_onnxruntime
from reid.runtime.sessions.threads import thread_limit

__all__ = ["Node", "OnnxGraph", "Tensor"]

_AT_MOST = (1 << 31) - 1
"""The largest file that protobuf reads."""

_FATAL = 4

# The numbers of fields in onnx.proto.
_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OPERATOR = 1, 2, 3, 4
_DIMENSIONS, _DATA_TYPE, _TENSOR_NAME = 1, 2, 8
_VALUE_NAME = 1

_INITIALIZER_TYPES = {
    1: "float",
    2: "uint8",
    3: "int8",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    16: "bfloat16",
}
"""TensorProto.DataType -> ONNX Runtime's name of it."""

_NUMPY = {"float": "float32", "double": "float64"}
"""Where numpy has another name for a type."""

_NAMES = {numpy_name: name for name, numpy_name in _NUMPY.items()}

_BYTES = {
    "uint8": 1,
    "int8": 1,
    "bool": 1,
    "float16": 2,
    "bfloat16": 2,
    "float": 4,
    "int32": 4,
    "int64": 8,
    "double": 8,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor, with one frame and one tracklet in a batch.

    Attributes:
        shape: its dimensions.
        type: ONNX Runtime's name of its type: "float", "float16", "int8".
    """

    shape: tuple[int, ...]
    type: str

    @property
    def elements(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.elements * _BYTES.get(self.type, 4)


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a graph.

    Attributes:
        name: its name; its first output's where it has none.
        op: its ONNX operator.
        inputs: the names of the tensors that it reads.
        outputs: the names of the tensors that it writes.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """A graph.

    Attributes:
        nodes: its nodes in the order of execution.
        constants: the names of the tensors that its file holds.
        outputs: the names of what it gives.
        tensors: every tensor whose shape is known, by name.
    """

    nodes: tuple[Node, ...]
    constants: frozenset[str]
    outputs: frozenset[str]
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> OnnxGraph:
        """Read a graph; ONNX Runtime infers the shapes, for which every tensor is added to the graph's outputs.

        Raises:
            ModelError: the file cannot be read, or is no graph.
            SessionError: ONNX Runtime is too old for the graph.
        """
        check_onnx_file(path)
        try:
            content = read_file(path, at_most=_AT_MOST)
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}; export it again with `reid-export`") from None
        graphs = [*bytes_of(content, (0, len(content)), _GRAPH)]
        nodes = tuple(_node(content, part) for graph in graphs for part in bytes_of(content, graph, _NODE))
        initializers = [part for graph in graphs for part in bytes_of(content, graph, _INITIALIZER)]
        constants = {text_of(content, part, _TENSOR_NAME): _initializer(content, part) for part in initializers}
        outputs = [
            text_of(content, part, _VALUE_NAME) for graph in graphs for part in bytes_of(content, graph, _OUTPUT)
        ]
        given = {name for node in nodes for name in node.outputs if name} - set(outputs)
        added = b"".join(bytes_field(_OUTPUT, bytes_field(_VALUE_NAME, name.encode())) for name in sorted(given))
        tensors = constants | _described(path, content + bytes_field(_GRAPH, added))
        return cls(nodes, frozenset(constants), frozenset(outputs), tensors)


def _described(path: Path, content: bytes) -> dict[str, Tensor]:
    """Return a graph's inputs and outputs; where a shape depends on the batch's size, as with one frame."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # fusing hides tensors
    options.log_severity_level = _FATAL  # what else it says, our errors do
    options.intra_op_num_threads = thread_limit()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        found = {value.name: _inferred(value) for value in (*session.get_inputs(), *session.get_outputs())}
        unknown = [name for name, tensor in found.items() if tensor is None]
        given = {value.name: _inferred(value) for value in session.get_inputs()} if unknown else {}
        zeros = {name: np.zeros(one.shape, _NUMPY.get(one.type, one.type)) for name, one in given.items() if one}
        values = session.run(unknown, zeros) if unknown else []
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        reason, version = " ".join(str(error).split())[:300], onnxruntime.__version__
        raise graph_refused(path, "onnxruntime", version, refusal=f"run it ({reason})") from None
    ran = {name: _computed(value) for name, value in zip(unknown, values, strict=True)}
    return {name: tensor for name, tensor in (found | ran).items() if tensor}


def _inferred(value: Any) -> Tensor | None:  # noqa: ANN401 - ONNX Runtime has no stubs
    """Return what ONNX Runtime infers of a tensor; dimensions that have a name instead of a size are 1."""
    if value.shape is None or None in value.shape:
        return None
    shape = tuple(size if isinstance(size, int) else 1 for size in value.shape)
    return Tensor(shape, value.type.removeprefix("tensor(").removesuffix(")"))


def _computed(value: NDArray[Any]) -> Tensor:
    return Tensor(value.shape, _NAMES.get(value.dtype.name, value.dtype.name))


def _initializer(content: bytes, part: tuple[int, int]) -> Tensor:
    shape, kind = (_integers(content, part, number) for number in (_DIMENSIONS, _DATA_TYPE))
    return Tensor(shape, _INITIALIZER_TYPES.get(kind[-1] if kind else 1, "float"))


def _node(content: bytes, part: tuple[int, int]) -> Node:
    inputs, outputs = (tuple(texts_of(content, part, number)) for number in (_NODE_INPUT, _NODE_OUTPUT))
    name = text_of(content, part, _NODE_NAME) or next(iter(outputs), "")
    return Node(name, text_of(content, part, _NODE_OPERATOR), inputs, outputs)


def _integers(content: bytes, message: tuple[int, int], wanted: int) -> tuple[int, ...]:
    """Return the integers of a field, which are stored one by one, or all of them in one field."""
    found: list[int] = []
    for number, wire, start, end in fields(content, *message):
        if number == wanted and wire == VARINT:
            found.append(start)
        elif number == wanted and wire == BYTES:
            found += _packed(content[start:end])
    return tuple(found)


def _packed(content: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in content:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
