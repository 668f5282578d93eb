"""A device with the kernels on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from reid.runtime.cuda import Cuda, DeviceArray, DeviceBuffer, Stream
from reid.runtime.kernels.library import Kernels

__all__ = ["KernelDevice"]


@dataclass(frozen=True)
class KernelDevice:
    """A device with the kernels on it, and arrays to and from it."""

    cuda: Cuda
    kernels: Kernels
    stream: Stream

    def room(self, size: int = 1 << 16) -> DeviceBuffer:
        return self.cuda.allocate(size)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        return self.cuda.allocate(math.prod(shape) * np.dtype(dtype).itemsize).view(shape, dtype)

    def put(self, array: NDArray[Any]) -> DeviceArray:
        held = self.empty(array.shape, array.dtype)
        self.cuda.upload(held.buffer, np.ascontiguousarray(array), self.stream)
        return held

    def get(self, held: DeviceArray) -> NDArray[Any]:
        array = np.empty(held.shape, held.dtype)
        self.cuda.download(array, held.buffer, self.stream)
        self.stream.synchronize()
        return array
