"""What a gallery holds, in numbers."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.protocol import Gallery
from reid.runtime.galleries.store.store import Store

__all__ = ["Summary", "size_of_store", "summarize"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a gallery holds.

    Attributes:
        entries: how many there are.
        cameras: the name of a camera -> its entries, by names.
        without_camera: the entries whose camera is not known.
        seen_s: the first and the last time that an entry was seen; None where no time is known.
        without_time: the entries whose time is not known.
        segments: the files that entries are in; None where it is no folder of ours.
        size: the bytes of all files; None where it is no folder of ours.
    """

    entries: int
    cameras: Mapping[str, int]
    without_camera: int
    seen_s: tuple[float, float] | None
    without_time: int
    segments: int | None = None
    size: int | None = None


def summarize(gallery: Gallery) -> Summary:
    """Count what a gallery holds; embeddings are not read. Raises DataError where it is damaged."""
    cameras: Counter[str | None] = Counter()
    times = [np.empty(0)]
    if isinstance(gallery, Store):
        _count_stored(gallery, cameras, times)
    else:
        for entries in gallery.entries():
            cameras.update(entry.camera for entry in entries)
            times.append(np.array([np.nan if entry.time_s is None else entry.time_s for entry in entries]))
    known = (every := np.concatenate(times))[~np.isnan(every)]
    counted = Summary(
        len(gallery),
        {name: cameras[name] for name in sorted(name for name in cameras if name is not None)},
        cameras[None],
        (float(known.min()), float(known.max())) if known.size else None,
        len(every) - len(known),
    )
    if isinstance(gallery, Store):
        return replace(counted, segments=len(gallery.segments), size=size_of_store(gallery))
    return counted


def _count_stored(store: Store, cameras: Counter[str | None], times: list[NDArray[np.float64]]) -> None:
    for segment in store.segments:
        live = segment.live_rows()
        numbers, counts = np.unique(segment.camera(0, live.size)[live], return_counts=True)
        names = (*segment.cameras, None)
        cameras.update({names[number]: count for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)})
        times.append(segment.time_s(0, live.size)[live])


def size_of_store(store: Store) -> int:
    """Return the bytes of a store's files."""
    size = 0
    for path in store.path.iterdir():
        with contextlib.suppress(FileNotFoundError):  # a writer may remove one meanwhile
            size += path.stat().st_size
    return size
