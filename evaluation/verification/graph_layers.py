"""The layers of a graph, and what each gives: read from the file and run by ONNX Runtime. Needs no onnx."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import ModelError
from reid.runtime.files.protobuf import VARINT, bytes_field, bytes_of, fields, text_of, texts_of
from reid.runtime.files.reading import read_file
from reid.runtime.graph_names import FRAMES, POOLING
from reid.runtime.sessions.library import graph_refused
from reid.runtime.sessions.onnx_file import check_onnx_file
from reid.runtime.sessions.onnxruntime import import_onnxruntime
from reid.runtime.sessions.threads import thread_limit

__all__ = ["GraphLayers", "Layer", "Tensors"]

Tensors = dict[str, NDArray[np.float32]]
"""Tensor -> its values for one frame."""

_AT_MOST = (1 << 31) - 1
"""The largest file that protobuf reads."""

_FATAL = 4
_FLOATS = ("tensor(float)", "tensor(float16)")

# The numbers of fields in onnx.proto.
_GRAPH = 7
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OPERATOR = 1, 2, 3, 4
_DIMENSIONS, _TENSOR_NAME = 1, 8
_VALUE_NAME = 1


@dataclass(frozen=True, slots=True)
class Layer:
    """A node of a graph, whose first output is a float tensor.

    Attributes:
        name: the node's name.
        op: its ONNX operator.
        position: its position in the order of execution.
        tensor: its first output.
        weight: the first weight that it reads; empty where it has none.
    """

    name: str
    op: str
    position: int
    tensor: str
    weight: str = ""


class GraphLayers:
    """A graph that gives all of its layers' float tensors, run by ONNX Runtime on the CPU.

    Protobuf reads one message behind another as one message with the fields of both. So outputs are added to a graph by
    adding bytes to its file.
    """

    def __init__(self, graph: Path) -> None:
        """Read and load a graph.

        Raises:
            ModelError: the file cannot be read, or is no graph.
            SessionError: ONNX Runtime is too old for the graph.
        """
        self.path = graph
        content = _read(graph)
        nodes, outputs = _parse(content)
        added = [layer.tensor for layer in nodes if layer.tensor not in outputs]
        values = b"".join(bytes_field(_OUTPUT, bytes_field(_VALUE_NAME, name.encode())) for name in added)
        self._session = _load(graph, content + bytes_field(_GRAPH, values))
        kinds = {output.name: output.type for output in self._session.get_outputs()}
        self.layers = {layer.name: layer for layer in nodes if kinds.get(layer.tensor) in _FLOATS}

    def run(self, frames: NDArray[np.uint8], tensors: Sequence[str]) -> Iterator[Tensors]:
        """Yield tensors of one frame after the other, so that no more than one frame's are in memory.

        Args:
            frames: the frames, uint8 [n, 3, H, W], resized as the card says.
            tensors: the names of the tensors.

        Raises:
            ModelError: the graph does not run.
        """
        for frame in frames:
            with _errors_naming(self.path):
                found = self._session.run(list(tensors), {FRAMES: frame[None], POOLING: np.ones((1, 1), np.float32)})
            yield {name: values.astype(np.float32, copy=False) for name, values in zip(tensors, found, strict=True)}


def _read(graph: Path) -> bytes:
    check_onnx_file(graph)
    try:
        return read_file(graph, at_most=_AT_MOST)
    except OSError as error:
        raise ModelError(f"{graph}: {error.strerror}; export it again with `reid-export`") from None


def _parse(content: bytes) -> tuple[list[Layer], set[str]]:
    """Return the named nodes of a checked graph, in order, and the names of the graph's outputs."""
    nodes: list[tuple[int, int]] = []
    weights, outputs = set(), set()
    for part in bytes_of(content, (0, len(content)), _GRAPH):
        nodes += bytes_of(content, part, _NODE)
        tensors = [*bytes_of(content, part, _INITIALIZER)]
        weights |= {text_of(content, one, _TENSOR_NAME) for one in tensors if _dimensions(content, one) > 1}
        outputs |= {text_of(content, one, _VALUE_NAME) for one in bytes_of(content, part, _OUTPUT)}
    found = (_layer(content, node, position, weights) for position, node in enumerate(nodes))
    return [layer for layer in found if layer.name and layer.tensor], outputs


def _layer(content: bytes, node: tuple[int, int], position: int, weights: set[str]) -> Layer:
    inputs, outputs = (texts_of(content, node, number) for number in (_NODE_INPUT, _NODE_OUTPUT))
    return Layer(
        name=text_of(content, node, _NODE_NAME),
        op=text_of(content, node, _NODE_OPERATOR),
        position=position,
        tensor=next(iter(outputs), ""),
        weight=next((name for name in inputs if name in weights), ""),
    )


def _dimensions(content: bytes, tensor: tuple[int, int]) -> int:
    """Return the number of a tensor's dimensions, which are stored one by one, or all of them in one field."""
    found = 0
    for number, wire, start, end in fields(content, *tensor):
        if number == _DIMENSIONS:
            found += 1 if wire == VARINT else sum(byte < 0x80 for byte in content[start:end])
    return found


def _load(graph: Path, content: bytes) -> Any:  # noqa: ANN401 - ONNX Runtime has no stubs
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # fusing hides tensors
    options.log_severity_level = _FATAL  # what else it says, our errors do
    options.intra_op_num_threads = thread_limit()
    with _errors_naming(graph):
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)


@contextlib.contextmanager
def _errors_naming(graph: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        reason, version = " ".join(str(error).split())[:300], import_onnxruntime().__version__
        raise graph_refused(graph, "onnxruntime", version, refusal=f"run it ({reason})") from None
