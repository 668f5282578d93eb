"""Crops of a batch on their way to the GPU, which resizes them there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import Cuda, DeviceArray, Stream
from reid.runtime.errors import SessionError
from reid.runtime.kernels.crops import CROP, LONGEST_SIDE, Interleaved
from reid.runtime.kernels.library import Kernels

__all__ = ["CropRoom", "find_kernels"]

logger = logging.getLogger(__name__)


def find_kernels(cuda: Cuda) -> Kernels | None:
    """Load the kernels; None where `reid` was installed without any for this GPU."""
    try:
        return Kernels(cuda)
    except SessionError as error:
        logger.info("crops are resized on the CPU: %s", error)
        return None


class CropRoom:
    """Memory for the crops of a batch, one after another, on the host and on the device."""

    def __init__(self, cuda: Cuda, kernels: Kernels, frames: int, size: int) -> None:
        """Allocate memory. Raises DeviceMemoryError where there is not as much.

        Args:
            cuda: the GPU.
            kernels: what resizes.
            frames: the most crops.
            size: the bytes of all crops together.
        """
        self._cuda, self._kernels = cuda, kernels
        self._pixels: NDArray[np.uint8] = cuda.pinned((size,), np.uint8)
        self._table: NDArray[np.void] = cuda.pinned((frames * CROP.itemsize,), np.uint8).view(CROP)
        self._buffers = cuda.allocate(size), cuda.allocate(self._table.nbytes)
        self._lock = threading.Lock()
        self._used = self._count = 0

    def take(self, position: int, crop: NDArray[np.uint8]) -> bool:
        """Copy an RGB crop, uint8 [h, w, 3], that becomes a frame of the batch. Return whether it finds room."""
        height, width, _ = crop.shape
        with self._lock:
            start = self._used
            if start + crop.nbytes > len(self._pixels) or max(height, width) > LONGEST_SIDE:
                return False
            self._table[self._count] = (start, 0, 3 * width, 0, 0, width, height, position)
            self._used, self._count = start + crop.nbytes, self._count + 1
        self._pixels[start : start + crop.nbytes].reshape(crop.shape)[...] = crop
        return True

    def resize(self, frames: DeviceArray, stream: Stream) -> None:
        """Put on a stream what makes the crops frames of a batch, uint8 [N, 3, H, W]; the others stay as they are."""
        if not self._count:
            return
        pixels, room = self._buffers
        self._cuda.upload(pixels, self._pixels[: self._used], stream)
        crops, held = self._table[: self._count], pixels.view((self._used,), np.uint8)
        self._kernels.resize_crops(held, Interleaved("rgb"), crops, room, frames, stream)

    def on_host(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield the position and the pixels of each crop."""
        for crop in self._table[: self._count]:
            start, shape = int(crop["offset"]), (int(crop["height"]), int(crop["width"]), 3)
            yield int(crop["position"]), self._pixels[start : start + shape[0] * shape[1] * 3].reshape(shape)

    def clear(self) -> None:
        """Forget the crops."""
        self._used = self._count = 0

    def free(self) -> None:
        """Free the device's memory."""
        for buffer in self._buffers:
            buffer.free()
