"""Batches that are on the device already, and stay there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from reid.runtime.cuda import Cuda, DeviceArray, DeviceBuffer, Event
from reid.runtime.cuda_driver.foreign import LEGACY_STREAM, ForeignArray, read_foreign
from reid.runtime.errors import SessionError
from reid.runtime.graph_names import FRAMES, POOLING
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.device.batch import Batch, Computes
from reid.runtime.sessions.device.slots import DeviceSlot
from reid.runtime.sessions.session import BatchLimits

__all__ = ["DeviceEmbeddings", "DeviceRunner"]

_ALIGNMENT = 256
"""What TensorRT asks of a tensor's address."""


class DeviceEmbeddings(NamedTuple):
    """The outputs for one batch, on the device; see Embeddings."""

    frame_embedding: DeviceArray
    pooled: DeviceArray


class DeviceRunner:
    """Embeds batches that are on the device."""

    def __init__(self, cuda: Cuda, contexts: Computes, slot: DeviceSlot, card: ModelCard) -> None:
        """Take what enqueues batches, and a slot, in whose memory arrays are copied that are not aligned."""
        self._cuda, self._contexts, self._slot, self._card = cuda, contexts, slot, card

    def run(self, frames: Any, pooling: Any, stream: int | None, limits: BatchLimits) -> DeviceEmbeddings:  # noqa: ANN401
        """See TensorRTSession.run_on_device; the context is current."""
        computing = self._contexts.stream
        given = read_foreign(frames, computing.handle), read_foreign(pooling, computing.handle)
        count, tracklets = self._check(*given, limits)
        profile = self._contexts.profile_for(count, tracklets)
        self._wait_for({LEGACY_STREAM if stream is None else stream, given[0].stream, given[1].stream})
        depth = self._card.dimensions
        outputs = self._cuda.allocate(count * depth * 4), self._cuda.allocate(tracklets * depth * 4)
        inputs = self._aligned(given[0], FRAMES), self._aligned(given[1], POOLING)
        addresses = (*inputs, outputs[0].address, outputs[1].address)
        self._contexts.enqueue(Batch(profile, count, tracklets, addresses))
        self._slot.computing.ended.record(computing)
        end = self._end(stream)
        return DeviceEmbeddings(
            self._array(outputs[0], (count, depth), stream, end),
            self._array(outputs[1], (tracklets, depth), stream, end),
        )

    def _check(self, frames: ForeignArray, pooling: ForeignArray, limits: BatchLimits) -> tuple[int, int]:
        """Return N and T. Raises ValueError where the arrays are not a batch in this GPU's memory."""
        size = self._card.preprocessing
        (count, tracklets) = (array.shape[0] if array.shape else 0 for array in (frames, pooling))
        as_frames = frames.dtype == np.uint8 and frames.shape == (count, 3, size.height, size.width)
        as_pooling = pooling.dtype == np.float32 and pooling.shape == (tracklets, count)
        if not (as_frames and as_pooling and frames.is_contiguous and pooling.is_contiguous):
            raise ValueError(
                f"not a batch: frames {frames}, pooling {pooling}; give contiguous uint8 "
                f"(N, 3, {size.height}, {size.width}) and float32 (T, N)"
            )
        if count > limits.frames or tracklets > limits.tracklets:
            raise ValueError(
                f"{count} frames of {tracklets} tracklets are more than {limits.frames} of {limits.tracklets}; "
                "use a smaller batch"
            )
        for array, name in ((frames, FRAMES), (pooling, POOLING)):
            self._check_here(array, name)
        return count, tracklets

    def _check_here(self, array: ForeignArray, name: str) -> None:
        try:
            ordinal = self._cuda.library.ordinal_of(array.address)
        except SessionError:  # it is no address of any GPU
            ordinal = None
        if ordinal != self._cuda.ordinal:
            where = "no GPU" if ordinal is None else f"GPU {ordinal}"
            raise ValueError(f"{name} is on {where}, and the session on GPU {self._cuda.ordinal}: copy it there first")

    def _wait_for(self, streams: set[int | None]) -> None:
        """Compute only once what is on these streams by now is done."""
        for handle in streams - {None}:
            event = self._cuda.event()
            event.record(self._cuda.stream_at(handle or LEGACY_STREAM))
            self._contexts.stream.wait(event)

    def _aligned(self, array: ForeignArray, name: str) -> int:
        """Return the address of an array, or of a copy of it where TensorRT would not take it."""
        if array.address % _ALIGNMENT == 0:
            return array.address
        buffer = self._slot.buffers[name]
        self._cuda.library.copy_on_device(buffer.address, array.address, array.nbytes, self._contexts.stream.handle)
        return buffer.address

    def _end(self, stream: int | None) -> Event:
        """Return the event at the end of the batch, which has happened, or which the caller's stream waits for."""
        end = self._cuda.event()
        end.record(self._contexts.stream)
        if stream is None:
            end.synchronize()
        else:
            self._cuda.stream_at(stream or LEGACY_STREAM).wait(end)
        return end

    def _array(self, buffer: DeviceBuffer, shape: tuple[int, int], stream: int | None, end: Event) -> DeviceArray:
        def make_wait(handle: int) -> None:
            self._cuda.stream_at(handle).wait(end)

        return DeviceArray(buffer, shape, np.dtype(np.float32), stream, make_wait)
