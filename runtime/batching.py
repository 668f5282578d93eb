"""Tracklets in, full batches out: frames are decoded by threads, in order, and pooled across batches.

Pooling is linear, so a tracklet may straddle batches: every batch but the last is full, and no slot is padded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.imaging import read_frame, resize
from reid.runtime.model_card import Preprocessing
from reid.runtime.tracklet import Tracklet

__all__ = ["Arrival", "Batch", "Unreadable", "batches"]


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """One coming of a tracklet; the same tracklet may come twice, so arrivals compare by identity."""

    tracklet: Tracklet


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A frame that was left out, and why."""

    arrival: Arrival
    frame_index: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one run of a session takes, and to whom its rows belong.

    Attributes:
        frames: uint8 [N, 3, H, W].
        pooling: float32 [T, N].
        arrivals: whose tracklet each row of `pooling` is, [T].
        frame_indices: index of each frame within its tracklet, [N].
        complete: in their order, the arrivals that ended with this batch, without any readable frame perhaps.
        unreadable: the frames that were left out on the way to this batch's end.
    """

    frames: NDArray[np.uint8]
    pooling: NDArray[np.float32]
    arrivals: tuple[Arrival, ...]
    frame_indices: tuple[int, ...]
    complete: tuple[Arrival, ...]
    unreadable: tuple[Unreadable, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Slot:
    """A frame on its way; `last` where it ends its tracklet, `pixels` is empty where `failure` says why."""

    arrival: Arrival
    index: int
    last: bool
    pixels: NDArray[np.uint8]
    failure: str = ""


def batches(
    tracklets: Iterable[Tracklet], preprocessing: Preprocessing, *, batch_size: int, threads: int = 4
) -> Iterator[Batch]:
    """Decode frames ahead of their use and group them into batches, in the order in which they come.

    Args:
        tracklets: taken lazily; at most two batches are decoded ahead.
        preprocessing: of the model's card.
        batch_size: frames per batch, N.
        threads: that decode.
    """
    frames: list[_Slot] = []
    complete: list[Arrival] = []
    unreadable: list[Unreadable] = []
    for slot in _decoded(tracklets, preprocessing, ahead=2 * batch_size, threads=threads):
        if slot.failure:
            unreadable.append(Unreadable(slot.arrival, slot.index, slot.failure))
        else:
            frames.append(slot)
        if slot.last:
            complete.append(slot.arrival)
        if len(frames) == batch_size:
            yield _assemble(frames, preprocessing, complete, unreadable)
            frames, complete, unreadable = [], [], []
    if frames or complete or unreadable:
        yield _assemble(frames, preprocessing, complete, unreadable)


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


def _assemble(
    slots: list[_Slot], preprocessing: Preprocessing, complete: list[Arrival], unreadable: list[Unreadable]
) -> Batch:
    frames = np.empty((len(slots), 3, preprocessing.height, preprocessing.width), np.uint8)
    arrivals: list[Arrival] = []
    rows = []
    for position, slot in enumerate(slots):
        frames[position] = slot.pixels
        if not arrivals or arrivals[-1] is not slot.arrival:
            arrivals.append(slot.arrival)
        rows.append(len(arrivals) - 1)
    pooling = np.zeros((len(arrivals), len(slots)), np.float32)
    pooling[rows, range(len(slots))] = 1.0
    indices = tuple(slot.index for slot in slots)
    return Batch(frames, pooling, tuple(arrivals), indices, tuple(complete), tuple(unreadable))
