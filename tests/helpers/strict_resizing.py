"""The kernel that resizes, on the driver that refuses what CUDA refuses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from strict_cuda import Access, Driver

from reid.runtime.cuda import Cuda, DeviceArray, DeviceBuffer, Stream
from reid.runtime.imaging import as_model_input
from reid.runtime.kernels.crops import CROP, Interleaved
from reid.runtime.model_card import ModelCard

__all__ = ["Resizing"]


class Resizing:
    """The kernel that resizes, done by the CPU when its stream comes to it."""

    def __init__(self, driver: Driver, cuda: Cuda, card: ModelCard) -> None:
        self.driver, self.cuda, self.card = driver, cuda, card
        self.resized = 0

    def resize_crops(
        self,
        pixels: DeviceArray,
        layout: Interleaved,
        crops: NDArray[np.void],
        room: DeviceBuffer,
        frames: DeviceArray,
        stream: Stream,
    ) -> None:
        assert layout == Interleaved("rgb")
        assert crops.nbytes <= room.size
        self.cuda.upload(room, crops, stream)
        count = len(crops)

        def act() -> None:
            given = self.driver.at(pixels.address, pixels.shape, np.uint8)
            batch = self.driver.at(frames.address, frames.shape, np.uint8)
            for crop in self.driver.at(room.address, (count * CROP.itemsize,), np.uint8).view(CROP):
                start, height, width = (int(crop[name]) for name in ("offset", "height", "width"))
                assert (crop["pitch"], crop["left"], crop["top"]) == (3 * width, 0, 0)
                cut = given[start : start + 3 * height * width].reshape(height, width, 3)
                batch[crop["position"]] = as_model_input(cut, self.card.preprocessing)
                self.resized += 1

        read = Access(pixels.address, pixels.nbytes, False), Access(room.address, crops.nbytes, False)
        self.driver.put(stream.handle, act, [*read, Access(frames.address, frames.nbytes, True)])
