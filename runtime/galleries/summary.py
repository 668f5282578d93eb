"""What a store holds, in numbers."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reid.runtime.galleries.store.store import Store

__all__ = ["Summary", "size_of_store", "summarize"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a store holds.

    Attributes:
        entries: how many there are.
        cameras: the name of a camera -> its entries, by names.
        without_camera: the entries whose camera is not known.
        seen_s: the first and the last time that an entry was seen; None where no time is known.
        without_time: the entries whose time is not known.
        segments: the files that entries are in.
        size: the bytes of all files.
    """

    entries: int
    cameras: Mapping[str, int]
    without_camera: int
    seen_s: tuple[float, float] | None
    without_time: int
    segments: int
    size: int


def summarize(store: Store) -> Summary:
    """Count what a store holds; neither embeddings nor ids are read. Raises DataError where it is damaged."""
    cameras: Counter[str | None] = Counter()
    times = [np.empty(0)]
    for segment in store.segments:
        live = segment.live_rows()
        numbers, counts = np.unique(segment.camera(0, live.size)[live], return_counts=True)
        names = (*segment.cameras, None)
        cameras.update({names[number]: count for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)})
        times.append(segment.time_s(0, live.size)[live])
    known = (every := np.concatenate(times))[~np.isnan(every)]
    return Summary(
        len(store),
        {name: cameras[name] for name in sorted(name for name in cameras if name is not None)},
        cameras[None],
        (float(known.min()), float(known.max())) if known.size else None,
        len(every) - len(known),
        len(store.segments),
        size_of_store(store),
    )


def size_of_store(store: Store) -> int:
    """Return the bytes of a store's files."""
    size = 0
    for path in store.path.iterdir():
        with contextlib.suppress(FileNotFoundError):  # a writer may remove one meanwhile
            size += path.stat().st_size
    return size
