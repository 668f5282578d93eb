"""Slots: room for batches that a session lends, so that a batch is filled while the one before it is computed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from reid.runtime.imaging import as_model_input
from reid.runtime.model_card import Preprocessing
from reid.runtime.sessions.clocks import BatchSeconds, Timed, embed_timed, timing
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.session import Embeddings, Session

__all__ = ["DecodesOnDevice", "HostSlots", "ImageFile", "LendsSlots", "Pending", "Slot", "Slots", "slots_of"]


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """An image file that becomes a frame of a batch.

    Attributes:
        position: the frame's position in the batch.
        content: the file's bytes.
        path: what it is called where it cannot be read.
    """

    position: int
    content: bytes
    path: Path


class Slot(Protocol):
    """Room for one batch. Any number of threads fill it, each at positions of its own."""

    @property
    def pooling(self) -> NDArray[np.float32]:
        """The weights, float32 [limits.tracklets, limits.frames]; zeros when the slot is lent."""
        ...

    def place(self, position: int, crop: NDArray[np.uint8]) -> None:
        """Put an RGB crop, uint8 [h, w, 3] of any size, at a position; it is resized here or on the device."""
        ...

    def keep(self, file: ImageFile) -> bool:
        """Keep a file for `decode`; return False if it is the caller's to decode and to place.

        Raises:
            DataError: as `imaging.decode`, for what is found before anything is decoded.
        """
        ...

    def decode(self) -> Sequence[ImageFile]:
        """Decode the files that were kept, on the device; return those that it cannot decode, which are the caller's.

        Called once, by one thread, when nobody places or keeps any more; the caller may place afterwards.

        Raises:
            SessionError: the device failed.
        """
        ...


class Pending(Protocol):
    """A batch that a device works on."""

    @property
    def seconds(self) -> BatchSeconds:
        """How long its steps took, as far as the session can tell; known once `result` has returned."""
        ...

    def done(self) -> bool:
        """Return whether `result` would not wait."""
        ...

    def result(self) -> Embeddings:
        """Wait, and return arrays that belong to the caller. The slot is free afterwards, even after an error.

        Raises:
            ModelError: Session.compute raises it.
            SessionError: Session.compute raises it.
        """
        ...


class Slots(Protocol):
    """The slots of a session. One thread may lend and withdraw while another submits and takes results.

    Attributes:
        in_use: held while a stream fills them: a second stream would wait for slots that the first does not give back.
    """

    in_use: threading.Lock

    @property
    def count(self) -> int:
        """How many slots there are, at least 2."""
        ...

    def lend(self) -> Slot:
        """Return a slot that is free. Raises ValueError where none is."""
        ...

    def submit(self, slot: Slot, frames: int, tracklets: int) -> Pending:
        """Embed positions 0 to `frames - 1`, pooled by the first rows and columns of the slot's `pooling`."""
        ...

    def withdraw(self, slot: Slot) -> None:
        """Take back a slot that was lent and is not needed."""
        ...


@runtime_checkable
class LendsSlots(Protocol):
    """A session with slots of its own: its device reads what is placed without another copy."""

    def slots(self) -> Slots:
        """Return the session's slots."""
        ...


@runtime_checkable
class DecodesOnDevice(Protocol):
    """A session whose slots may keep image files, for its device to decode."""

    def decode_on_device(self) -> None:
        """Let the slots keep JPEG files from here on; `info.decoder` says what decodes them.

        Raises:
            SessionError: there is nothing to decode them with.
        """
        ...


@contextmanager
def slots_of(session: Session) -> Iterator[Slots]:
    """Give a session's own slots, or some in host memory where it has none or another stream fills them."""
    own = session.slots() if isinstance(session, LendsSlots) else None
    if own and own.in_use.acquire(blocking=False):
        try:
            yield own
        finally:
            own.in_use.release()
        return
    slots = HostSlots(session)
    try:
        yield slots
    finally:
        slots.close()


@dataclass(frozen=True, slots=True, eq=False)
class _HostSlot:
    frames: NDArray[np.uint8]
    pooling: NDArray[np.float32]
    preprocessing: Preprocessing
    resize_s: list[float] = field(default_factory=list)

    def place(self, position: int, crop: NDArray[np.uint8]) -> None:
        with timing(self.resize_s.append):
            as_model_input(crop, self.preprocessing, out=self.frames[position])

    def keep(self, file: ImageFile) -> bool:
        return False

    def decode(self) -> Sequence[ImageFile]:
        return ()

    def clear(self) -> None:
        self.pooling.fill(0)
        self.resize_s.clear()


@dataclass(slots=True, eq=False)
class _HostPending:
    future: Future[Timed]
    seconds: BatchSeconds = field(default_factory=BatchSeconds)

    def done(self) -> bool:
        return self.future.done()

    def result(self) -> Embeddings:
        embeddings, self.seconds = self.future.result()
        return embeddings


class HostSlots:
    """Slots in host memory, for a session that takes arrays: a thread computes while others fill the next slot."""

    def __init__(self, session: Session) -> None:
        """Allocate memory for batches of the session's limits: one to fill, and as many as it computes at once.

        The session stays the caller's to close.
        """
        at_once = session.at_once if isinstance(session, HostSession) else 1
        self.count = at_once + 1
        self._session, self.in_use = session, threading.Lock()
        size, limits = session.info.card.preprocessing, session.limits
        self._free = deque(
            _HostSlot(
                np.empty((limits.frames, 3, size.height, size.width), np.uint8),
                np.zeros((limits.tracklets, limits.frames), np.float32),
                size,
            )
            for _ in range(self.count)
        )
        self._worker = ThreadPoolExecutor(at_once, thread_name_prefix="compute")

    def lend(self) -> Slot:
        """See Slots.lend."""
        if not self._free:
            raise ValueError("all slots are lent; take a result first")
        slot = self._free.popleft()
        slot.clear()
        return slot

    def submit(self, slot: Slot, frames: int, tracklets: int) -> Pending:
        """See Slots.submit."""
        assert isinstance(slot, _HostSlot)
        return _HostPending(self._worker.submit(self._compute, slot, frames, tracklets))

    def withdraw(self, slot: Slot) -> None:
        """See Slots.withdraw."""
        assert isinstance(slot, _HostSlot)
        self._free.append(slot)

    def close(self) -> None:
        """End the threads, after the batches that they compute."""
        self._worker.shutdown()

    def _compute(self, slot: _HostSlot, frames: int, tracklets: int) -> Timed:
        try:
            pooling = np.ascontiguousarray(slot.pooling[:tracklets, :frames])
            return embed_timed(self._session.compute, slot.frames[:frames], pooling, slot.resize_s)
        finally:
            self._free.append(slot)
