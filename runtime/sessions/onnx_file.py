"""What a graph's file may hold: all of its weights, so that a library that loads it opens no other file."""

from __future__ import annotations

import mmap
from pathlib import Path

from reid.runtime.errors import ModelError
from reid.runtime.files.protobuf import BYTES, VARINT, fields
from reid.runtime.files.reading import open_regular

__all__ = ["check_onnx_file"]

_MESSAGES: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 8: "OperatorSetIdProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "OperatorSetIdProto": {},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 9: "OperatorSetIdProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
"""The messages of onnx.proto that may hold tensors or opsets: field number -> the message in that field."""

_GRAPH, _EXTERNAL_DATA, _DATA_LOCATION = 7, 13, 14

_NEWEST_OPSET = 1000
"""Far above any that there is."""

_MOST_FIELDS = 1 << 20
"""A graph of a thousand layers has some 50,000; a file of nothing but tiny fields would keep us busy for minutes."""


def check_onnx_file(graph: Path) -> None:
    """Check that a graph's file is one that a library may load: a regular file with all of its weights inside.

    Only the framing of ONNX's protobuf messages is read, down to the tensors; the file's pages of weights are not.

    Raises:
        ModelError: it is no regular file, is not ONNX, or names other files for its weights.
    """
    try:
        with open_regular(graph) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            whole = _weights_are_inside(content)
    except OSError as error:
        raise ModelError(f"{graph}: {error.strerror or error}; give an .onnx file of `reid-export`") from None
    except ValueError as error:  # an empty file cannot be mapped
        raise ModelError(f"{graph} is not an ONNX graph, or is damaged ({error}); export it again") from None
    if not whole:
        raise ModelError(
            f"{graph} keeps its weights in other files; give an .onnx file of `reid-export`, which holds them"
        )


def _weights_are_inside(content: mmap.mmap) -> bool:
    """Return whether no tensor names another file. Raises ValueError where the content is not ONNX."""
    waiting = [("ModelProto", 0, len(content))]
    found, graphs = 0, 0
    while waiting:
        message, start, end = waiting.pop()
        inner = _MESSAGES[message]
        for number, wire, first, second in fields(content, start, end):
            found += 1
            if found > _MOST_FIELDS:
                raise ValueError(f"more than {_MOST_FIELDS:,} fields")
            if message == "OperatorSetIdProto" and wire == VARINT and first > _NEWEST_OPSET:
                raise ValueError(f"opset {first:,}, which OpenVINO would look for without an end")
            if message == "TensorProto" and _is_elsewhere(number, wire, first):
                return False
            if number in inner and wire == BYTES:
                waiting.append((inner[number], first, second))
                graphs += message == "ModelProto" and number == _GRAPH
    if not graphs:
        raise ValueError("no graph in it")
    return True


def _is_elsewhere(number: int, wire: int, value: int) -> bool:
    """Return whether a field of a tensor says that its values lie in another file."""
    if wire == VARINT:
        return number == _DATA_LOCATION and value & 0xFFFFFFFF != 0  # an enum has 32 bits; 0 is the tensor itself
    return number == _EXTERNAL_DATA and wire == BYTES
