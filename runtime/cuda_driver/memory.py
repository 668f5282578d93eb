"""Memory on the device, and memory on the host that the device copies from and to by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from reid.runtime.cuda_driver.dlpack import CUDA, to_capsule
from reid.runtime.cuda_driver.foreign import LEGACY_STREAM
from reid.runtime.cuda_driver.ownership import Current, Owned, free_with
from reid.runtime.cuda_driver.package import Package

__all__ = ["DeviceArray", "DeviceBuffer", "check_copy", "pinned_array"]


def check_copy(array: NDArray[Any], buffer: DeviceBuffer, start: int = 0) -> None:
    """Raise ValueError where an array is not contiguous, or larger than a buffer from its byte `start` on."""
    if not array.flags.c_contiguous:
        raise ValueError(f"an array {array.shape} with strides {array.strides} is not contiguous: copy it first")
    _check_size(start + array.nbytes, buffer)


def _check_size(size: int, buffer: DeviceBuffer) -> None:
    if size > buffer.size:
        raise ValueError(f"an array of {size} bytes does not fit a buffer of {buffer.size}")


class DeviceBuffer:
    """Bytes on the device.

    Attributes:
        address: the address of the first byte.
        size: the number of bytes.
        ordinal: the number of the GPU.
        free: gives the memory back, once. It happens by itself when the buffer and all views of it are gone.
    """

    def __init__(self, current: Current, memory: Owned, size: int, ordinal: int) -> None:
        """Take memory; call `Cuda.allocate` instead."""
        self.address = memory.handle
        self.size = size
        self.ordinal = ordinal
        self.free = free_with(self, current, memory.release)

    def view(self, shape: tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Return the start of the buffer as an array. Raises ValueError where it would be larger than the buffer."""
        array = DeviceArray(self, shape, np.dtype(dtype))
        _check_size(array.nbytes, self)
        return array


@dataclass(frozen=True, slots=True)
class DeviceArray:
    """An array at the start of a buffer, contiguous in C's order. CuPy, PyTorch and Numba take it without a copy.

    Attributes:
        buffer: the memory, which it keeps.
        shape: the shape.
        dtype: the type of its elements.
        stream: the stream on which it is filled; None where it is filled already.
        make_wait: makes a stream, by its handle, wait until it is filled.
    """

    buffer: DeviceBuffer
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: int | None = None
    make_wait: Callable[[int], None] = lambda stream: None

    @property
    def address(self) -> int:
        """The address of the first element."""
        return self.buffer.address

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": None if self.stream is None else self.stream or LEGACY_STREAM,
            "version": 3,
        }

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
        **_wishes: object,
    ) -> object:
        """Return a capsule, once the consumer's stream waits for the array; -1 for no need, None for the default.

        Raises:
            BufferError: the array is wanted on another device, or as a copy.
        """
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("a device array gives its own memory, on its GPU: take that, and copy it afterwards")
        if stream != -1:
            self.make_wait(stream or LEGACY_STREAM)
        return to_capsule(self.address, self.shape, self.dtype, self.buffer.ordinal, self.buffer)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return DLPack's type and number of the device."""
        return CUDA, self.buffer.ordinal


def pinned_array(current: Current, package: Package, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Allocate an array in page-locked memory; call `Cuda.pinned` instead."""
    kind = np.dtype(dtype)
    with current():
        memory = package.allocate_host(max(1, math.prod(shape) * kind.itemsize))
    return np.asarray(_Pinned(current, memory, shape, kind))


class _Pinned:
    """What an array and its views keep as long as they are there."""

    def __init__(self, current: Current, memory: Owned, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        free_with(self, current, memory.release)
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": (memory.handle, False), "version": 3}
