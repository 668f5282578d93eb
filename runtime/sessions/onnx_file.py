"""What a graph's file may hold: all of its weights, so that a library that loads it opens no other file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from reid.runtime.errors import ModelError
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
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5

_NEWEST_OPSET = 1000
"""Far above any that there is."""

_MOST_FIELDS = 1 << 20
"""A graph of a thousand layers has some 50,000; a file of nothing but tiny fields would keep us busy for minutes."""

_Field: TypeAlias = tuple[int, int, int, int]
"""(number, wire type, start and end of a value of bytes; of a varint, its value and 0)"""


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
    fields, graphs = 0, 0
    while waiting:
        message, start, end = waiting.pop()
        inner = _MESSAGES[message]
        for number, wire, first, second in _fields(content, start, end):
            fields += 1
            if fields > _MOST_FIELDS:
                raise ValueError(f"more than {_MOST_FIELDS:,} fields")
            if message == "OperatorSetIdProto" and wire == _VARINT and first > _NEWEST_OPSET:
                raise ValueError(f"opset {first:,}, which OpenVINO would look for without an end")
            if message == "TensorProto" and _is_elsewhere(number, wire, first):
                return False
            if number in inner and wire == _BYTES:
                waiting.append((inner[number], first, second))
                graphs += message == "ModelProto" and number == _GRAPH
    if not graphs:
        raise ValueError("no graph in it")
    return True


def _is_elsewhere(number: int, wire: int, value: int) -> bool:
    """Return whether a field of a tensor says that its values lie in another file."""
    if wire == _VARINT:
        return number == _DATA_LOCATION and value & 0xFFFFFFFF != 0  # an enum has 32 bits; 0 is the tensor itself
    return number == _EXTERNAL_DATA and wire == _BYTES


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[_Field]:
    """Yield the fields of one message. Raises ValueError where it is not well-formed, or has groups, unused in ONNX."""
    while start < end:
        tag, start = _varint(content, start, end)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"field {number} in it")
        first, second = start, 0
        if wire == _VARINT:
            first, start = _varint(content, start, end)
        elif wire == _BYTES:
            length, first = _varint(content, start, end)
            start = second = first + length
        elif wire in (_FIXED_32, _FIXED_64):
            start += 4 if wire == _FIXED_32 else 8
        else:
            raise ValueError(f"wire type {wire} in it")
        if start > end:
            raise ValueError("cut short")
        yield number, wire, first, second


def _varint(content: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """Return the number at a position, without sign and in 64 bits, and the position after it."""
    value = 0
    for position in range(start, min(end, start + 10)):
        byte = content[position]
        value |= (byte & 0x7F) << 7 * (position - start)
        if byte < 0x80:
            return value & (1 << 64) - 1, position + 1
    raise ValueError("cut short" if start + 10 > end else "a number of more than 64 bits in it")
