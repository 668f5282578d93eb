"""Arrays that other libraries have on the device: PyTorch, CuPy, Numba, DeepStream."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from reid.runtime.cuda_driver.dlpack import CUDA, read_capsule

__all__ = ["LEGACY_STREAM", "ForeignArray", "read_foreign"]

LEGACY_STREAM = 1
"""CU_STREAM_LEGACY: the default stream, where 0 would mean nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class ForeignArray:
    """An array of another library.

    Attributes:
        address: the address of its first element.
        shape: the shape.
        dtype: the type of its elements.
        is_contiguous: whether its elements lie one after the other, in C's order.
        stream: the stream on which it is filled; None where it is filled already.
        owner: what keeps its memory.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_contiguous: bool
    stream: int | None
    owner: object

    def __str__(self) -> str:
        """Return type and shape for people: "uint8 (8, 3, 256, 256)"."""
        return f"{self.dtype} {self.shape}{'' if self.is_contiguous else ' with gaps'}"

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


def read_foreign(array: Any, stream: int) -> ForeignArray:  # noqa: ANN401
    """Read what an array says of itself.

    Args:
        array: an object with `__cuda_array_interface__`, or with `__dlpack__`.
        stream: the stream on which it is going to be used.

    Raises:
        ValueError: it has neither, is not in a GPU's memory, or has a type that numpy does not have.
    """
    if (facts := getattr(array, "__cuda_array_interface__", None)) is not None:
        return _from_interface(array, facts)
    if hasattr(array, "__dlpack__"):
        kind, _ = array.__dlpack_device__()
        if kind != CUDA:
            raise ValueError(f"{type(array).__name__} is on a device of DLPack's type {kind}, not a GPU: copy it there")
        capsule = array.__dlpack__(stream=stream)  # its library makes that stream wait
        address, shape, strides, dtype, _ = read_capsule(capsule)
        return ForeignArray(address, shape, dtype, _is_contiguous(shape, strides), None, (array, capsule))
    raise ValueError(f"{type(array).__name__} has neither __cuda_array_interface__ nor __dlpack__: use `run`")


def _from_interface(array: object, facts: dict[str, Any]) -> ForeignArray:
    dtype, shape, strides = np.dtype(facts["typestr"]), tuple(facts["shape"]), facts.get("strides")
    elements = None if strides is None else tuple(stride / dtype.itemsize for stride in strides)
    return ForeignArray(facts["data"][0], shape, dtype, _is_contiguous(shape, elements), facts.get("stream"), array)


def _is_contiguous(shape: tuple[int, ...], strides: tuple[float, ...] | None) -> bool:
    if strides is None or 0 in shape:
        return True
    expected = [*itertools.accumulate(shape[:0:-1], lambda product, size: product * size, initial=1)][::-1]
    return all(size == 1 or stride == right for size, stride, right in zip(shape, strides, expected, strict=True))
