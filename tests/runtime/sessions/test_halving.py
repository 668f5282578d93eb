from __future__ import annotations

import contextlib
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.runtime.cuda import DeviceMemoryError
from reid.runtime.errors import SessionError
from reid.runtime.sessions.halving import Halving, reserve


class Device:
    """Embeds a frame as its mean and its number, where no more frames come at a time than have room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(
        self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert pooling.flags.c_contiguous
        self.sizes.append(len(frames))
        if len(frames) > self.room:
            raise DeviceMemoryError("too large")
        embedding = frames.reshape(len(frames), 2).astype(np.float32)
        return embedding, pooling @ embedding


def batch(count: int, rows: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    random = np.random.default_rng(count)
    return random.integers(0, 256, (count, 1, 1, 2)).astype(np.uint8), random.integers(0, 5, (rows, count)).astype("f4")


@pytest.mark.parametrize("room", [1, 2, 3, 5, 13, 100])
def test_a_batch_in_parts_is_the_batch(room: int) -> None:
    frames, pooling = batch(13, 3)
    expected = Device(100)(frames, pooling)
    halving = Halving(Device(room), 32)
    for _ in range(2):
        for actual, right in zip(halving(frames, pooling), expected, strict=True):
            np.testing.assert_array_equal(actual, right)


def test_it_says_once_what_fits_and_stays_there(caplog: pytest.LogCaptureFixture) -> None:
    device = Device(5)
    halving = Halving(device, 32)
    with caplog.at_level(logging.WARNING):
        for count in (16, 16, 3):
            halving(*batch(count, 2))
    assert caplog.messages == [
        "out of memory with 16 frames at a time: going on with 8",
        "out of memory with 8 frames at a time: going on with 4",
    ]
    assert device.sizes == [16, 8, 4, 4, 4, 4, 4, 4, 4, 4, 3]


def test_where_not_one_frame_fits_it_is_an_error() -> None:
    with pytest.raises(DeviceMemoryError, match="too large"):
        Halving(Device(0), 32)(*batch(4, 1))


def test_another_error_ends_it_at_once() -> None:
    def broken(*_: object) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        raise SessionError("broken")

    with pytest.raises(SessionError, match="broken"):
        Halving(broken, 32)(*batch(4, 1))


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_what_is_reserved_is_the_first_half_that_finds_room_and_nothing_else_is_kept(most: int, room: int) -> None:
    held: list[int] = []

    def allocate(frames: int, resources: contextlib.ExitStack) -> str:
        held.append(frames)
        resources.callback(held.remove, frames)
        if frames > room:
            raise DeviceMemoryError(f"no room for {frames}")
        return f"for {frames}"

    expected = next((most >> step for step in range(most.bit_length()) if most >> step <= room), None)
    with contextlib.ExitStack() as resources:
        if expected is None:
            with pytest.raises(DeviceMemoryError, match=r"no room for 1$"):
                reserve(most, allocate, resources)
            assert held == []
        else:
            assert reserve(most, allocate, resources) == (f"for {expected}", expected)
            assert held == [expected]
    assert held == []
