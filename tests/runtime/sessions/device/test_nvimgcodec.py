"""Files that the device decodes, on the driver that refuses what CUDA refuses and the package that refuses the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jpeg_files import jpeg, picture, turned
from numpy.typing import NDArray
from strict_cuda import Driver, cuda_on
from strict_nvimgcodec import NvImageCodec, on_driver
from strict_resizing import Resizing

from reid.runtime.bundle import Bundle
from reid.runtime.cuda import Cuda, Stream
from reid.runtime.errors import DataError, SessionError
from reid.runtime.imaging import as_model_input, decode
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.device.nvimgcodec import open_decoder
from reid.runtime.sessions.device.slots import DeviceSlot, DeviceSlots
from reid.runtime.sessions.session import BatchLimits
from reid.runtime.sessions.slots import ImageFile

LIMITS = BatchLimits(6, 3)


class Device:
    """A slot of a device that decodes."""

    def __init__(self, cuda: Cuda, api: NvImageCodec, slot: DeviceSlot, stream: Stream) -> None:
        self.cuda, self.api, self.slot, self.stream = cuda, api, slot, stream

    def fill(self, contents: list[bytes]) -> list[int]:
        """Do what the pipeline does; return the positions that the device was not to decode, or could not."""
        files = [ImageFile(position, one, Path(f"{position}.jpg")) for position, one in enumerate(contents)]
        left = [file for file in files if not self.slot.keep(file)]
        for file in left:
            self.slot.place(file.position, decode(file.content, file.path))
        late = self.slot.decode()
        for file in late:
            self.slot.place(file.position, decode(file.content, file.path))
        return [file.position for file in (*left, *late)]

    def frames(self, count: int) -> NDArray[np.uint8]:
        with self.cuda.current():
            self.slot.upload(self.cuda, count, self.stream)
        found = np.empty((count, *self.slot.frames.shape[1:]), np.uint8)
        self.cuda.download(found, self.slot.buffers["frames"], self.stream)
        self.stream.synchronize()
        return found


@pytest.fixture
def card(bundle: Path) -> ModelCard:
    return Bundle.open(bundle).card


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def api(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> NvImageCodec:
    package = NvImageCodec(on_driver(driver))
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", package)
    return package


@pytest.fixture(params=["pycuda", "cuda-bindings"])
def device(request: pytest.FixtureRequest, card: ModelCard, driver: Driver, api: NvImageCodec) -> Iterator[Device]:
    cuda = cuda_on(driver, request.param)
    kernels: Any = Resizing(driver, cuda, card)
    slot, stream = DeviceSlot(cuda, card, LIMITS, kernels), cuda.stream()
    with cuda.current():
        decoder = open_decoder(0, stream)
    DeviceSlots([slot], lambda *batch: pytest.fail("nobody submits")).decode_with(decoder)
    api.batches.clear()
    yield Device(cuda, api, slot, stream)
    decoder.close()
    assert api.open == 0
    slot.free()
    stream.free()
    assert (driver.used, driver.faults) == (0, [])


def expected(contents: list[bytes], card: ModelCard) -> NDArray[np.uint8]:
    return np.stack([as_model_input(decode(one, "a file"), card.preprocessing) for one in contents])


def test_a_batch_is_decoded_at_once_and_what_is_not_plain_by_the_cpu(device: Device, card: ModelCard) -> None:
    pictures = [picture(40 + 9 * index, 70 - 5 * index, index) for index in range(6)]
    contents = [jpeg(one) for one in pictures]
    contents[1] = cv2.imencode(".png", pictures[1])[1].tobytes()
    contents[3] = turned(contents[3], 8)
    assert device.fill(contents) == [1, 3]
    for found in (device.frames(6), device.slot.on_host(6, 1)[0]):
        np.testing.assert_array_equal(found, expected(contents, card))
    device.slot.clear()
    contents = [jpeg(picture(33, 44, 9))]
    assert device.fill(contents) == []
    for found in (device.slot.on_host(1, 1)[0], device.frames(1)):  # also before it was uploaded
        np.testing.assert_array_equal(found, expected(contents, card))
    assert device.api.batches == [4, 1]


def test_what_the_device_cannot_decode_the_cpu_decodes(device: Device, card: ModelCard) -> None:
    contents = [jpeg(picture(50, 60, index)) for index in range(5)]
    device.api.refused = {contents[0], contents[3]}
    assert device.fill(contents) == [0, 3]
    np.testing.assert_array_equal(device.frames(5), expected(contents, card))


def test_decoding_on_the_device_is_timed_where_there_was_any(device: Device) -> None:
    """The driver takes a millisecond for each byte that it reads or writes: a pixel's are written, and copied."""
    for sizes in ([(50, 60), (33, 40)], [], [(20, 30)]):
        device.slot.clear()
        device.fill([jpeg(picture(*size, 0)) for size in sizes])
        device.frames(1)
        for step in (device.slot.uploading, device.slot.computing, device.slot.downloading):
            with step.on(device.stream):
                pass
        device.stream.synchronize()
        pixels = sum(3 * height * width for height, width in sizes)
        assert device.slot.seconds().decode_s == (3 * pixels / 1000 if sizes else None)


def test_files_and_crops_share_the_room(device: Device, card: ModelCard) -> None:
    """What finds no room any more is decoded and resized on the CPU."""
    contents = [jpeg(picture(120, 120 + index, index)) for index in range(6)]
    assert device.fill(contents) == [3, 4, 5]
    np.testing.assert_array_equal(device.frames(6), expected(contents, card))


def test_files_are_refused_before_they_are_decoded(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    content = jpeg(picture(50, 60))
    monkeypatch.setenv("REID_MAX_PIXELS", "2999")
    for wrong, reason in ((content, "3,000 pixels|50 pixels"), (content[:-2], "cut short")):
        with pytest.raises(DataError, match=f"a.jpg: .*({reason})"):
            device.slot.keep(ImageFile(0, wrong, Path("a.jpg")))
    assert device.api.batches == []


def test_a_file_that_changes_its_size_is_the_cpus(device: Device) -> None:
    """A second frame after the pixels: parsers may take either size, and memory is given for one."""
    content = jpeg(picture(50, 60))
    start = content.index(b"\xff\xc0")
    second = content[start : start + 5] + b"\x00\xff\x00\xff" + content[start + 9 : start + 19]
    assert not device.slot.keep(ImageFile(0, content[:-2] + second + b"\xff\xd9", Path("a.jpg")))


def test_a_device_that_fails_is_no_damaged_file(device: Device, driver: Driver) -> None:
    driver.room = driver.used
    with pytest.raises(SessionError, match=r"nvImageCodec 0\.9\.0 failed: out of memory"):
        device.fill([jpeg(picture(50, 60))])
    device.slot.clear()


def test_nothing_is_decoded_after_the_end(device: Device, card: ModelCard) -> None:
    contents = [jpeg(picture(50, 60))]
    assert device.slot.crops
    assert device.slot.crops.decoder
    device.slot.crops.decoder.close()
    assert device.fill(contents) == [0]
    np.testing.assert_array_equal(device.frames(1), expected(contents, card))


def test_what_is_missing_is_said_at_once(driver: Driver, api: NvImageCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = cuda_on(driver, "pycuda")
    stream = cuda.stream()
    api.has_nvjpeg = False
    with cuda.current(), pytest.raises(SessionError, match=r"decodes no JPEG on GPU 0, .* no nvJPEG; pip install"):
        open_decoder(0, stream)
    monkeypatch.setattr(api, "Decoder", None)
    with pytest.raises(SessionError, match=r"nvImageCodec 0\.9\.0 does not start: .*; pip install"):
        open_decoder(0, stream)
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    with pytest.raises(SessionError, match=r"nvImageCodec is not installed .*; pip install"):
        open_decoder(0, stream)
    stream.free()
