"""Tensors and a few texts in one safetensors file, whose bytes depend on nothing else; and reading a stranger's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from reid.runtime.errors import ModelError, ReidError
from reid.runtime.files.reading import MEBIBYTE, open_regular

__all__ = ["TensorFile", "check_alike", "hash_tensors", "open_tensors", "tensors_to_bytes"]

_TEXTS = "__metadata__"
_LENGTH = 8
"""Bytes that hold the header's length; the format aligns the tensors to as many."""

_HEADER_AT_MOST = 8 * MEBIBYTE
"""The largest header that is read, in bytes: eighty times that of a large network."""


def tensors_to_bytes(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> bytes:
    """Return the content of a safetensors file, which depends on nothing but what it holds.

    The library sorts tensors, but lists texts as a hash table with random seeds happens to return them.

    Args:
        tensors: contiguous tensors on the CPU, by name.
        texts: the metadata, by name.
    """
    content = save(dict(tensors), metadata=dict(texts))
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    header = json.loads(content[_LENGTH:end])
    header[_TEXTS] = dict(sorted(header[_TEXTS].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH)
    return b"".join([len(text).to_bytes(_LENGTH, "little"), text, memoryview(content)[end:]])


class TensorFile:
    """A safetensors file whose header has been read.

    Attributes:
        texts: the metadata, by name.
    """

    def __init__(self, stored: Any) -> None:  # noqa: ANN401 - the library's types are not public
        self._stored = stored
        self._names: list[str] = sorted(stored.keys())
        self.texts: dict[str, str] = stored.metadata() or {}

    def read(self, prefix: str = "") -> dict[str, Tensor]:
        """Return the tensors whose names begin with a prefix, on the CPU, by the rest of their names.

        Together they take as much memory as the file has bytes, and do not change if the file does.

        Raises:
            ValueError: PyTorch has no such type of tensor.
        """
        try:
            return {
                name.removeprefix(prefix): self._stored.get_tensor(name).clone()  # else it is the mapped file
                for name in self._names
                if name.startswith(prefix)
            }
        except SafetensorError as error:
            raise ValueError(_line(error)) from None


def open_tensors(file: Path, *, remedy: str, error: type[ReidError] = ModelError) -> TensorFile:
    """Read the header of a safetensors file.

    Args:
        file: the file.
        remedy: what to do where it cannot be read.
        error: the error to raise.

    Raises:
        ReidError: of the type `error`: it is no regular file, cannot be read, or is damaged.
    """
    try:
        with open_regular(file) as start:
            length = int.from_bytes(start.read(_LENGTH), "little")
        if length > _HEADER_AT_MOST:
            raise SafetensorError(f"its header has {length:,} bytes, more than the {_HEADER_AT_MOST:,} it may have")
        return TensorFile(safe_open(file, framework="pt"))
    except OSError as problem:
        raise error(f"{file}: {problem.strerror or _line(problem)}; {remedy}") from None
    except SafetensorError as problem:
        raise error(f"{file} is damaged ({_line(problem)}); {remedy}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def check_alike(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Refuse tensors that have other names, shapes or types than those that are wanted.

    Args:
        tensors: tensors by name.
        wanted: tensors by name, of any content and on any device.

    Raises:
        ValueError: naming a tensor that is missing, not wanted, or of another kind.
    """
    for name in sorted(tensors.keys() ^ wanted.keys()):
        raise ValueError(f"{'it has no' if name in wanted else 'there is no place for'} tensor {name[:200]!r}")
    for name, tensor in tensors.items():
        (shape, dtype), other = _kind(tensor), _kind(wanted[name])
        if (shape, dtype) != other:
            raise ValueError(f"tensor {name!r} is {dtype} {shape[:8]}, not {other[1]} {other[0]}")


def _kind(tensor: Tensor) -> tuple[list[int], torch.dtype]:
    return list(tensor.shape), tensor.dtype


def hash_tensors(digest: hashlib._Hash, tensors: Mapping[str, Tensor]) -> None:
    """Add names, types, shapes and contents of contiguous tensors on the CPU to a digest, in the order of the names."""
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
