"""Tracklets in, full batches out: frames are decoded by threads, kept in order, and pooled across batches.

Pooling is linear, so a tracklet may straddle batches: every batch but the last is full, and no slot is padded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.imaging import read_frame, resize
from reid.runtime.model_card import Preprocessing
from reid.runtime.sessions.session import BatchLimits
from reid.runtime.tracklet import Tracklet

__all__ = ["Arrival", "Batch", "Unreadable", "batches"]


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """One appearance of a tracklet in the stream. The same tracklet may appear twice: arrivals compare by identity."""

    tracklet: Tracklet


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A frame that was left out, and the reason."""

    arrival: Arrival
    frame_index: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The input of one run of a session, and the tracklets that its rows belong to.

    Attributes:
        frames: uint8 [N, 3, H, W].
        pooling: float32 [T, N].
        arrivals: the arrival that each row of `pooling` belongs to, [T].
        frame_indices: the index of each frame within its tracklet, [N].
        complete: the arrivals whose last frame is in this batch, in order, even if none of their frames was readable.
        unreadable: the frames that were left out since the batch before.
    """

    frames: NDArray[np.uint8]
    pooling: NDArray[np.float32]
    arrivals: tuple[Arrival, ...]
    frame_indices: tuple[int, ...]
    complete: tuple[Arrival, ...]
    unreadable: tuple[Unreadable, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Slot:
    """A decoded frame. `last` marks the end of its tracklet; `pixels` is empty if decoding failed, see `failure`."""

    arrival: Arrival
    index: int
    last: bool
    pixels: NDArray[np.uint8]
    failure: str = ""


def batches(
    tracklets: Iterable[Tracklet], preprocessing: Preprocessing, limits: BatchLimits, *, threads: int = 4
) -> Iterator[Batch]:
    """Decode frames ahead of their use and group them into batches, in the order in which they come.

    A batch is closed when it has as many frames, or as many tracklets, as the limits allow.

    Args:
        tracklets: the tracklets, taken lazily; at most two batches of frames are decoded ahead.
        preprocessing: the preprocessing of the model's card.
        limits: the largest batch.
        threads: the number of threads that decode.
    """
    pending = _Pending()
    for slot in _decoded(tracklets, preprocessing, ahead=2 * limits.frames, threads=threads):
        if not slot.failure and pending.opens_row(slot) and pending.rows == limits.tracklets:
            yield pending.assemble(preprocessing)
            pending = _Pending()
        pending.add(slot)
        if len(pending.slots) == limits.frames:
            yield pending.assemble(preprocessing)
            pending = _Pending()
    if pending.slots or pending.complete or pending.unreadable:
        yield pending.assemble(preprocessing)


@dataclass(slots=True)
class _Pending:
    """A batch that is being filled."""

    slots: list[_Slot] = field(default_factory=list)
    complete: list[Arrival] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    rows: int = 0

    def opens_row(self, slot: _Slot) -> bool:
        """Whether a frame would begin another row of `pooling`."""
        return not self.slots or self.slots[-1].arrival is not slot.arrival

    def add(self, slot: _Slot) -> None:
        if slot.failure:
            self.unreadable.append(Unreadable(slot.arrival, slot.index, slot.failure))
        else:
            self.rows += self.opens_row(slot)
            self.slots.append(slot)
        if slot.last:
            self.complete.append(slot.arrival)

    def assemble(self, preprocessing: Preprocessing) -> Batch:
        frames = np.empty((len(self.slots), 3, preprocessing.height, preprocessing.width), np.uint8)
        pooling = np.zeros((self.rows, len(self.slots)), np.float32)
        arrivals: list[Arrival] = []
        for position, slot in enumerate(self.slots):
            frames[position] = slot.pixels
            if not arrivals or arrivals[-1] is not slot.arrival:
                arrivals.append(slot.arrival)
            pooling[len(arrivals) - 1, position] = 1.0
        return Batch(
            frames,
            pooling,
            tuple(arrivals),
            tuple(slot.index for slot in self.slots),
            tuple(self.complete),
            tuple(self.unreadable),
        )


def _decoded(
    tracklets: Iterable[Tracklet], preprocessing: Preprocessing, *, ahead: int, threads: int
) -> Iterator[_Slot]:
    requests = (
        (arrival, index, index == len(arrival.tracklet.frames) - 1)
        for arrival in map(Arrival, tracklets)
        for index in range(len(arrival.tracklet.frames))
    )
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        pending: deque[Future[_Slot]] = deque()
        try:
            pending.extend(pool.submit(_decode, preprocessing, *request) for request in islice(requests, ahead))
            while pending:
                yield pending.popleft().result()
                pending.extend(pool.submit(_decode, preprocessing, *request) for request in islice(requests, 1))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _decode(preprocessing: Preprocessing, arrival: Arrival, index: int, last: bool) -> _Slot:
    try:
        crop = read_frame(arrival.tracklet.frames[index])
        if crop.dtype != np.uint8 or crop.shape[2:] != (3,) or crop.size == 0:
            raise DataError(
                f"frame {index} of {arrival.tracklet.id} is {crop.dtype} {list(crop.shape)}, expected uint8 [H, W, 3]"
            )
    except DataError as error:
        return _Slot(arrival, index, last, np.empty((0, 0, 3), np.uint8), failure=str(error))
    pixels = resize(crop, preprocessing.height, preprocessing.width)
    return _Slot(arrival, index, last, pixels.transpose(2, 0, 1))
