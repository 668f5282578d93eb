"""Crops that the device resizes, on the driver that refuses what CUDA refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from strict_cuda import Driver, cuda_on
from strict_resizing import Resizing

from reid.runtime.bundle import Bundle
from reid.runtime.cuda import Cuda
from reid.runtime.imaging import as_model_input
from reid.runtime.kernels.crops import CROP
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.clocks import BatchSeconds
from reid.runtime.sessions.device.slots import DeviceSlot
from reid.runtime.sessions.session import BatchLimits

LIMITS = BatchLimits(6, 3)


@pytest.fixture
def card(bundle: Path) -> ModelCard:
    return Bundle.open(bundle).card


@pytest.fixture(params=["pycuda", "cuda-bindings"])
def device(request: pytest.FixtureRequest, card: ModelCard) -> Iterator[tuple[Cuda, Resizing, DeviceSlot]]:
    driver = Driver()
    cuda = cuda_on(driver, request.param)
    kernels: Any = Resizing(driver, cuda, card)
    slot = DeviceSlot(cuda, card, LIMITS, kernels)
    yield cuda, kernels, slot
    slot.free()
    assert driver.used == 0


def crop(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def on_device(cuda: Cuda, slot: DeviceSlot, frames: int) -> NDArray[np.uint8]:
    stream = cuda.stream()
    slot.upload(cuda, frames, stream)
    found = np.empty((frames, *slot.frames.shape[1:]), np.uint8)
    cuda.download(found, slot.buffers["frames"], stream)
    stream.synchronize()
    stream.free()
    return found


def test_crops_of_any_size_become_frames_whether_they_find_room_or_not(
    device: tuple[Cuda, Resizing, DeviceSlot], card: ModelCard
) -> None:
    cuda, kernels, slot = device
    for turn, sizes in enumerate([[(40, 60), (1, 1), (128, 32), (7, 200)], [(64, 64), (90, 70), (300, 200)]]):
        slot.clear()
        crops = [crop(*size, seed=turn) for size in sizes]
        crops[0] = crops[0][::-1, ::2]  # not contiguous
        for position in reversed(range(len(crops))):  # decoding ends in any order
            slot.place(position, crops[position])
        expected = np.stack([as_model_input(np.ascontiguousarray(one), card.preprocessing) for one in crops])
        np.testing.assert_array_equal(on_device(cuda, slot, len(crops)), expected)
        on_host, pooling = slot.on_host(len(crops), 2)
        np.testing.assert_array_equal(on_host, expected)
        assert pooling.shape == (2, len(crops))
    assert kernels.resized == 4 + 2  # the last one was too large


def test_a_slot_that_is_lent_again_has_nothing_of_the_batch_before(
    device: tuple[Cuda, Resizing, DeviceSlot], card: ModelCard
) -> None:
    cuda, kernels, slot = device
    slot.place(0, crop(50, 50, 1))
    slot.pooling[0, 0] = 1
    slot.clear()
    assert not slot.pooling.any()
    frames = np.stack([as_model_input(crop(20, 30, 2), card.preprocessing)] * 2)
    slot.put(frames, np.ones((1, 2), np.float32))
    np.testing.assert_array_equal(on_device(cuda, slot, 2), frames)
    assert kernels.resized == 0


def test_resizing_on_the_device_is_timed_apart_from_the_upload_that_it_is_part_of(
    device: tuple[Cuda, Resizing, DeviceSlot],
) -> None:
    cuda, _, slot = device
    stream = cuda.stream()
    for sizes in ([(40, 60), (7, 200)], [(64, 64)]):
        slot.clear()
        for position, size in enumerate(sizes):
            slot.place(position, crop(*size, seed=position))
        with slot.uploading.on(stream):
            slot.upload(cuda, len(sizes), stream)
        for step in (slot.computing, slot.downloading):
            with step.on(stream):
                pass
        stream.synchronize()
        pixels, table = sum(3 * height * width for height, width in sizes), len(sizes) * CROP.itemsize
        # The stand-in takes a millisecond for each byte that it reads or writes, and its kernel reads all of the room.
        assert slot.seconds() == BatchSeconds(
            upload_s=pytest.approx(2 * pixels / 1000),
            resize_s=(2 * table + table + 3 * slot.frames.nbytes) / 1000,
            engine_s=0.0,
            download_s=0.0,
        )
    stream.free()


def test_many_threads_may_place_crops(device: tuple[Cuda, Resizing, DeviceSlot], card: ModelCard) -> None:
    cuda, _, slot = device
    crops = [crop(30 + one, 40, one) for one in range(LIMITS.frames)]
    threads = [threading.Thread(target=slot.place, args=pair) for pair in enumerate(crops)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = np.stack([as_model_input(one, card.preprocessing) for one in crops])
    np.testing.assert_array_equal(on_device(cuda, slot, len(crops)), expected)
