"""Slots of a session on a GPU: page-locked memory that the GPU copies from and to while it computes another batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import Cuda, Stream
from reid.runtime.errors import SessionError
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
from reid.runtime.imaging import as_model_input
from reid.runtime.kernels.library import Kernels
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.device.batch import TENSORS, Batch, Computes, Runs
from reid.runtime.sessions.device.crops import CropRoom
from reid.runtime.sessions.session import BatchLimits, Embeddings
from reid.runtime.sessions.slots import Pending, Slot

__all__ = ["LENT", "DevicePending", "DeviceSlot", "DeviceSlots", "Lanes"]


LENT = 3
"""How many slots a session lends: one is filled and one is uploaded, while another is computed."""

_ROOM_FOR_CROPS = 2
"""How large the crops of a slot may be on average, in frames of the model; what is too large is resized on the CPU."""


class DeviceSlot:
    """Room for one batch, on the host and on the device.

    Attributes:
        pooling: float32 [limits.tracklets, limits.frames]; see Slot.
        frames: uint8 [limits.frames, 3, H, W], page-locked: what was resized on the CPU.
        crops: the crops that the device resizes; None where the CPU resizes all.
        buffers: the TENSORS' memory on the device.
        uploaded: happens when the device has the inputs.
        computed: happens when the device's buffers are free for the next inputs.
        downloaded: happens when the outputs are on the host.
    """

    def __init__(self, cuda: Cuda, card: ModelCard, limits: BatchLimits, kernels: Kernels | None = None) -> None:
        """Allocate its memory. Raises DeviceMemoryError where there is not as much; nothing is left then.

        Args:
            cuda: the GPU.
            card: the model's card.
            limits: the largest batch.
            kernels: what resizes crops on the device; None to resize them on the CPU.
        """
        self._card = card
        frames, tracklets, size = limits.frames, limits.tracklets, card.preprocessing
        self.pooling = np.zeros((tracklets, frames), np.float32)
        self.frames: NDArray[np.uint8] = cuda.pinned((frames, 3, size.height, size.width), np.uint8)
        self._packed: NDArray[np.float32] = cuda.pinned((tracklets * frames,), np.float32)
        self._outputs = Embeddings(
            cuda.pinned((frames, card.dimensions), np.float32), cuda.pinned((tracklets, card.dimensions), np.float32)
        )
        arrays: tuple[NDArray[Any], ...] = (self.frames, self._packed, *self._outputs)
        self.buffers = {name: cuda.allocate(array.nbytes) for name, array in zip(TENSORS, arrays, strict=True)}
        self.crops = CropRoom(cuda, kernels, frames, _ROOM_FOR_CROPS * self.frames.nbytes) if kernels else None
        self.uploaded, self.computed, self.downloaded = cuda.event(), cuda.event(), cuda.event()
        self._has_frames = False

    def clear(self) -> None:
        """Make room for another batch."""
        self.pooling.fill(0)
        self._has_frames = False
        if self.crops:
            self.crops.clear()

    def place(self, position: int, crop: NDArray[np.uint8]) -> None:
        """See Slot.place."""
        if self.crops is None or not self.crops.take(position, crop):
            self.frames[position] = as_model_input(crop, self._card.preprocessing)
            self._has_frames = True

    def put(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> None:
        """Fill the slot with a batch."""
        self.frames[: len(frames)] = frames
        self._has_frames = True
        self.pooling[: len(pooling), : len(frames)] = pooling

    def upload(self, cuda: Cuda, frames: int, stream: Stream) -> None:
        """Put on a stream what gives the device the first frames."""
        buffer = self.buffers[FRAMES]
        if self._has_frames:
            cuda.upload(buffer, self.frames[:frames], stream)
        if self.crops:
            self.crops.resize(buffer.view(self.frames.shape, np.uint8), stream)

    def on_host(self, frames: int, tracklets: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the batch in host memory: frames and pooling."""
        for position, crop in self.crops.on_host() if self.crops else ():
            self.frames[position] = as_model_input(crop, self._card.preprocessing)
        return self.frames[:frames], np.ascontiguousarray(self.pooling[:tracklets, :frames])

    def packed(self, frames: int, tracklets: int, rows: int) -> NDArray[np.float32]:
        """Return the first tracklets' pooling in page-locked memory: [rows, frames], with zeros for what is missing."""
        packed = self._packed[: rows * frames].reshape(rows, frames)
        packed[:tracklets] = self.pooling[:tracklets, :frames]
        packed[tracklets:] = 0
        return packed

    def outputs(self, frames: int, tracklets: int) -> Embeddings:
        """Return the page-locked memory for a batch's outputs."""
        return Embeddings(self._outputs.frame_embedding[:frames], self._outputs.pooled[:tracklets])

    def addresses(self) -> tuple[int, int, int, int]:
        """Return the addresses of the TENSORS."""
        frames, pooling, frame_embedding, pooled = (self.buffers[name].address for name in TENSORS)
        return frames, pooling, frame_embedding, pooled

    def free(self) -> None:
        """Free the device's memory; page-locked memory goes with the slot."""
        for buffer in (*self.buffers.values(), *([self.crops] if self.crops else ())):
            buffer.free()
        for event in (self.uploaded, self.computed, self.downloaded):
            event.free()


@dataclass(frozen=True, slots=True)
class Lanes:
    """The way of a batch through the device: upload, compute and download, each on a stream of its own.

    Attributes:
        cuda: the GPU.
        contexts: what computes, and on which stream.
        graphs: how it is put there.
        uploads: the stream of uploads.
        downloads: the stream of downloads.
    """

    cuda: Cuda
    contexts: Computes
    graphs: Runs
    uploads: Stream
    downloads: Stream

    def start(self, slot: DeviceSlot, frames: int, tracklets: int) -> None:
        """Put a slot's batch on its way; `slot.downloaded` happens at its end. Raises as Graphs.run does."""
        profile = self.contexts.profile_for(frames, tracklets)
        most = min(len(slot.pooling), self.contexts.profiles[profile].tracklets[2])
        rows = min(most, 1 << (tracklets - 1).bit_length())  # fewer sizes: more batches find a graph
        self.uploads.wait(slot.computed)
        try:
            slot.upload(self.cuda, frames, self.uploads)
            self.cuda.upload(slot.buffers[POOLING], slot.packed(frames, tracklets, rows), self.uploads)
            slot.uploaded.record(self.uploads)
            self.contexts.stream.wait(slot.uploaded)
            self.graphs.run(Batch(profile, frames, rows, slot.addresses()))
        except SessionError:
            self.uploads.synchronize()  # before anybody fills the slot again
            raise
        slot.computed.record(self.contexts.stream)
        self.downloads.wait(slot.computed)
        outputs = slot.outputs(frames, tracklets)
        self.cuda.download(outputs.frame_embedding, slot.buffers[FRAME_EMBEDDING], self.downloads)
        self.cuda.download(outputs.pooled, slot.buffers[POOLED], self.downloads)
        slot.downloaded.record(self.downloads)

    def finish(self, slot: DeviceSlot, frames: int, tracklets: int) -> Embeddings:
        """Wait for a slot's batch, and return copies of its outputs."""
        slot.downloaded.synchronize()
        outputs = slot.outputs(frames, tracklets)
        return Embeddings(outputs.frame_embedding.copy(), outputs.pooled.copy())

    def synchronize(self) -> None:
        """Wait until nothing is on its way."""
        for stream in (self.uploads, self.contexts.stream, self.downloads):
            stream.synchronize()

    def close(self) -> None:
        """Free the streams of copies."""
        self.uploads.free()
        self.downloads.free()


@dataclass(frozen=True, slots=True, eq=False)
class DevicePending:
    """A batch on its way. See Pending.

    Attributes:
        is_done: returns whether `wait` would not wait.
        wait: waits for the embeddings, or raises what went wrong.
        give_back: gives the slot back.
    """

    is_done: Callable[[], bool]
    wait: Callable[[], Embeddings]
    give_back: Callable[[], None]

    @classmethod
    def failed(cls, error: Exception, give_back: Callable[[], None]) -> DevicePending:
        """Return a batch that did not get on its way; its result is the error."""

        def wait() -> Embeddings:
            raise error

        return cls(lambda: True, wait, give_back)

    def done(self) -> bool:
        """See Pending.done."""
        return self.is_done()

    def result(self) -> Embeddings:
        """See Pending.result."""
        try:
            return self.wait()
        finally:
            self.give_back()


class DeviceSlots:
    """A session's slots. See Slots."""

    def __init__(
        self, slots: Sequence[DeviceSlot], submit: Callable[[DeviceSlot, int, int, Callable[[], None]], Pending]
    ) -> None:
        """Take slots, and how the session embeds one: (slot, frames, tracklets, what gives it back) -> pending."""
        self.count, self.in_use = len(slots), threading.Lock()
        self._free = deque(slots)
        self._submit = submit

    def lend(self) -> Slot:
        """See Slots.lend."""
        if not self._free:
            raise ValueError("all slots are lent; take a result first")
        slot = self._free.popleft()
        slot.clear()
        return slot

    def submit(self, slot: Slot, frames: int, tracklets: int) -> Pending:
        """See Slots.submit."""
        assert isinstance(slot, DeviceSlot)
        return self._submit(slot, frames, tracklets, lambda: self._free.append(slot))

    def withdraw(self, slot: Slot) -> None:
        """See Slots.withdraw."""
        assert isinstance(slot, DeviceSlot)
        self._free.append(slot)
