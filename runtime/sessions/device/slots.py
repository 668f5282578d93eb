"""Slots of a session on a GPU: page-locked memory that the GPU copies from and to while it computes another batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import Cuda, Stream
from reid.runtime.errors import SessionError
from reid.runtime.graph_names import FRAMES
from reid.runtime.imaging import as_model_input
from reid.runtime.kernels.library import Kernels
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.clocks import BatchSeconds, Timed, embed_timed, timing
from reid.runtime.sessions.device.batch import TENSORS
from reid.runtime.sessions.device.crops import CropRoom
from reid.runtime.sessions.device.laps import Lap
from reid.runtime.sessions.device.nvimgcodec import JpegDecoder
from reid.runtime.sessions.host import Infer
from reid.runtime.sessions.session import BatchLimits, Embeddings
from reid.runtime.sessions.slots import ImageFile, Pending, Slot

__all__ = ["LENT", "DeviceSlot", "DeviceSlots"]


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
        uploading: ends when the device has the inputs.
        computing: ends when the device's buffers are free for the next inputs.
        downloading: ends when the outputs are on the host.
    """

    def __init__(
        self, cuda: Cuda, card: ModelCard, limits: BatchLimits, kernels: Kernels | None = None, *, is_timed: bool = True
    ) -> None:
        """Allocate its memory. Raises DeviceMemoryError where there is not as much; nothing is left then.

        Args:
            cuda: the GPU.
            card: the model's card.
            limits: the largest batch.
            kernels: what resizes crops on the device; None to resize them on the CPU.
            is_timed: whether `seconds` will be asked for.
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
        self.uploading, self.computing, self.downloading = (Lap(cuda, is_timed=is_timed) for _ in range(3))
        self._has_frames, self._resize_s = False, list[float]()

    def clear(self) -> None:
        """Make room for another batch."""
        self.pooling.fill(0)
        self._has_frames = False
        self._resize_s.clear()
        if self.crops:
            self.crops.clear()

    def place(self, position: int, crop: NDArray[np.uint8]) -> None:
        """See Slot.place."""
        if self.crops is None or not self.crops.take(position, crop):
            self._resize(position, crop)
            self._has_frames = True

    def keep(self, file: ImageFile) -> bool:
        """See Slot.keep."""
        return self.crops is not None and self.crops.keep(file)

    def decode(self) -> Sequence[ImageFile]:
        """See Slot.decode."""
        return self.crops.decode() if self.crops else ()

    def _resize(self, position: int, crop: NDArray[np.uint8]) -> None:
        with timing(self._resize_s.append):
            self.frames[position] = as_model_input(crop, self._card.preprocessing)

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
            self._resize(position, crop)
        return self.frames[:frames], np.ascontiguousarray(self.pooling[:tracklets, :frames])

    def embed_on_host(self, compute: Infer, frames: int, tracklets: int) -> Timed:
        """Embed the batch from host memory."""
        return embed_timed(compute, *self.on_host(frames, tracklets), self._resize_s)

    def packed(self, frames: int, tracklets: int, rows: int) -> NDArray[np.float32]:
        """Return the first tracklets' pooling in page-locked memory: [rows, frames], with zeros for what is missing."""
        packed = self._packed[: rows * frames].reshape(rows, frames)
        packed[:tracklets] = self.pooling[:tracklets, :frames]
        packed[tracklets:] = 0
        return packed

    def outputs(self, frames: int, tracklets: int) -> Embeddings:
        """Return the page-locked memory for a batch's outputs."""
        return Embeddings(self._outputs.frame_embedding[:frames], self._outputs.pooled[:tracklets])

    def seconds(self) -> BatchSeconds:
        """Return how long a batch took whose outputs are on the host."""
        on_device = self.crops.resize_s() if self.crops else 0.0
        return BatchSeconds(
            decode_s=self.crops.decode_s() if self.crops else None,
            upload_s=self.uploading.seconds() - on_device,  # which it did meanwhile
            resize_s=on_device + sum(self._resize_s),
            engine_s=self.computing.seconds(),
            download_s=self.downloading.seconds(),
        )

    def addresses(self) -> tuple[int, int, int, int]:
        """Return the addresses of the TENSORS."""
        frames, pooling, frame_embedding, pooled = (self.buffers[name].address for name in TENSORS)
        return frames, pooling, frame_embedding, pooled

    def free(self) -> None:
        """Free the device's memory; page-locked memory goes with the slot."""
        for buffer in (*self.buffers.values(), *([self.crops] if self.crops else ())):
            buffer.free()
        for lap in (self.uploading, self.computing, self.downloading):
            lap.free()


class DeviceSlots:
    """A session's slots. See Slots."""

    def __init__(
        self, slots: Sequence[DeviceSlot], submit: Callable[[DeviceSlot, int, int, Callable[[], None]], Pending]
    ) -> None:
        """Take slots, and how the session embeds one: (slot, frames, tracklets, what gives it back) -> pending."""
        self.count, self.in_use = len(slots), threading.Lock()
        self._slots, self._free = tuple(slots), deque(slots)
        self._submit = submit

    def decode_with(self, decoder: JpegDecoder) -> None:
        """Let the device decode JPEG files. Raises SessionError where crops are resized on the CPU."""
        for slot in self._slots:
            if slot.crops is None:
                remedy = "install the CUDA toolkit, and then reid again"
                raise SessionError(f"{decoder.name} decodes for the kernels, which reid does not have here; {remedy}")
            slot.crops.decoder = decoder

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
