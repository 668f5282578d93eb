"""Crops of a batch on their way to the GPU, which resizes them there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import Cuda, DeviceArray, Stream
from reid.runtime.cuda_driver.foreign import ForeignArray
from reid.runtime.errors import SessionError
from reid.runtime.image_headers.plain_jpeg import plain_jpeg_size
from reid.runtime.imaging import check_image
from reid.runtime.kernels.crops import CROP, LONGEST_SIDE, Interleaved
from reid.runtime.kernels.library import Kernels
from reid.runtime.sessions.device.laps import Lap
from reid.runtime.sessions.device.nvimgcodec import JpegDecoder
from reid.runtime.sessions.slots import ImageFile

__all__ = ["CropRoom", "find_kernels"]

logger = logging.getLogger(__name__)

_Kept: TypeAlias = "tuple[ImageFile, tuple[int, int, int]]"
"""A file, and the shape of its pixels."""


def find_kernels(cuda: Cuda) -> Kernels | None:
    """Load the kernels; None where `reid` was installed without any for this GPU."""
    try:
        return Kernels(cuda)
    except SessionError as error:
        logger.info("crops are resized on the CPU: %s", error)
        return None


class CropRoom:
    """Memory for the crops of a batch, one after another, on the host and on the device.

    From its beginning on lie the crops that come from the host, and from its end on those that the device decodes.

    Attributes:
        decoder: what decodes JPEG files on the device; None to leave that to the caller.
    """

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
        self._decoding, self._resizing = Lap(cuda), Lap(cuda)
        self.decoder: JpegDecoder | None = None
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []
        self.clear()

    def take(self, position: int, crop: NDArray[np.uint8]) -> bool:
        """Copy an RGB crop, uint8 [h, w, 3], that becomes a frame of the batch. Return whether it finds room."""
        height, width, _ = crop.shape
        with self._lock:
            start = self._used
            if not self._has_room_for(height, width):
                return False
            self._add(start, height, width, position)
            self._used += crop.nbytes
        self._pixels[start : start + crop.nbytes].reshape(crop.shape)[...] = crop
        return True

    def keep(self, file: ImageFile) -> bool:
        """See Slot.keep."""
        size = plain_jpeg_size(file.content) if self.decoder else None
        if size is None or check_image(file.content, file.path)[1:] != size:
            return False
        width, height = size
        with self._lock:
            # A file that is larger than its pixels is none that a camera or an encoder writes.
            if not self._has_room_for(height, width) or len(file.content) > 3 * height * width:
                return False
            self._kept.append((file, (height, width, 3)))
            self._reserved -= 3 * height * width
        return True

    def decode(self) -> Sequence[ImageFile]:
        """See Slot.decode."""
        if not self._kept or self.decoder is None:
            return ()
        with self.decoder.in_use, self._cuda.current(), self._decoding.on(self.decoder.stream):
            left = self._decode(self.decoder)
        self._kept.clear()
        self._reserved = self._packed
        return left

    def resize(self, frames: DeviceArray, stream: Stream) -> None:
        """Put on a stream what makes the crops frames of a batch, uint8 [N, 3, H, W]; the others stay as they are."""
        if not self._count:
            return
        pixels, room = self._buffers
        if self._used:
            self._cuda.upload(pixels, self._pixels[: self._used], stream)
        crops, held = self._table[: self._count], pixels.view(self._pixels.shape, np.uint8)
        with self._resizing.on(stream):
            self._kernels.resize_crops(held, Interleaved("rgb"), crops, room, frames, stream)

    def decode_s(self) -> float | None:
        """Return how many seconds the device has decoded, once it has; None where it has not."""
        return self._decoding.seconds() if self._packed < len(self._pixels) else None

    def resize_s(self) -> float:
        """Return how many seconds the device has resized, once it has."""
        return self._resizing.seconds() if self._count else 0.0

    def on_host(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield the position and the pixels of each crop."""
        if self.decoder and self._packed < len(self._pixels):
            self._cuda.download(self._pixels[self._packed :], self._buffers[0], self.decoder.stream, self._packed)
            self.decoder.stream.synchronize()
        for crop in self._table[: self._count]:
            start, shape = int(crop["offset"]), (int(crop["height"]), int(crop["width"]), 3)
            yield int(crop["position"]), self._pixels[start : start + shape[0] * shape[1] * 3].reshape(shape)

    def clear(self) -> None:
        """Forget the crops."""
        self._used = self._count = 0
        self._reserved = self._packed = len(self._pixels)  # from here to the end: for files, and of these decoded
        self._kept.clear()

    def free(self) -> None:
        """Free the device's memory."""
        for buffer in self._buffers:
            buffer.free()
        for lap in (self._decoding, self._resizing):
            lap.free()

    def _decode(self, decoder: JpegDecoder) -> list[ImageFile]:
        left, images = [], decoder.decode([file.content for file, _ in self._kept])
        for (file, shape), image in zip(self._kept, images, strict=True):
            if image is None or image.shape != shape or image.dtype != np.uint8 or not image.is_contiguous:
                left.append(file)
            else:
                self._pack(file.position, image, decoder.stream)
        return left

    def _pack(self, position: int, image: ForeignArray, stream: Stream) -> None:
        """Copy pixels on the device to in front of those that were copied before."""
        self._packed -= image.nbytes
        target = self._buffers[0].address + self._packed
        self._cuda.library.copy_on_device(target, image.address, image.nbytes, stream.handle)
        self._add(self._packed, image.shape[0], image.shape[1], position)

    def _has_room_for(self, height: int, width: int) -> bool:
        return self._used + 3 * height * width <= self._reserved and max(height, width) <= LONGEST_SIDE

    def _add(self, start: int, height: int, width: int, position: int) -> None:
        self._table[self._count] = (start, 0, 3 * width, 0, 0, width, height, position)
        self._count += 1
