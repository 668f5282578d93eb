"""Reading a graph from its file."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # comes with onnx
from onnx import ModelProto

from reid.runtime.errors import ModelError
from reid.runtime.files.reading import read_file
from reid.runtime.sessions.onnx_file import check_onnx_file

__all__ = ["load_graph"]

_AT_MOST = (1 << 31) - 1
"""The largest file that protobuf reads."""


def load_graph(path: Path) -> ModelProto:
    """Read an ONNX file, which has to hold all of its weights: no other file is opened.

    Raises:
        ModelError: the file cannot be read, is not a graph, or names other files.
    """
    check_onnx_file(path)
    try:
        return onnx.load_model_from_string(read_file(path, at_most=_AT_MOST))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; export it again with `reid-export`") from None
    except DecodeError:
        raise ModelError(f"{path} is not an ONNX graph, or is damaged; export it again with `reid-export`") from None
