"""PyTorch's tensors as the kernels take them, without a copy, and the time of work on a stream."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
from torch import Tensor

from reid.runtime.cuda import Cuda, DeviceArray, DeviceBuffer, Stream
from reid.runtime.cuda_driver.ownership import Owned

__all__ = ["as_device_array", "stream_ms"]


def as_device_array(cuda: Cuda, tensor: Tensor) -> DeviceArray:
    """Return a contiguous tensor on the GPU as an array that shares, and keeps, its memory."""
    assert tensor.is_contiguous()
    memory = Owned(tensor, tensor.data_ptr(), lambda raw: None)
    buffer = DeviceBuffer(cuda.current, memory, tensor.nbytes, cuda.ordinal)
    return buffer.view(tuple(tensor.shape), np.dtype(str(tensor.dtype).removeprefix("torch.")))


def stream_ms(cuda: Cuda, stream: Stream, task: Callable[[], object], times: int = 20) -> float:
    """Return the median time in milliseconds that a task takes on a stream, by the device's own clock."""
    spans = []
    for number in range(times + 2):
        begin, end = cuda.event(), cuda.event()
        begin.record(stream)
        task()
        end.record(stream)
        end.synchronize()
        if number >= 2:
            spans.append(end.milliseconds_since(begin))
    return round(statistics.median(spans), 4)
