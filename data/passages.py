"""When vehicles passed cameras, by the names of a data set's images, as VeRi-776's tell it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from reid.runtime.file_names import parse_name
from reid.runtime.galleries.entry import Entry
from reid.runtime.tracklet import Tracklet

__all__ = ["passages"]

_APART_S = 10.0
"""Images of a vehicle by a camera that are further apart show two passages: tracks have gaps, of a second or so."""


def passages(images: Iterable[Tracklet], clock: float) -> list[Entry]:
    """Return the passages of vehicles, each with the middle of its time.

    Images without a vehicle or a camera are left out, and so are names that tell no time, or one that is counted anew
    in each recording (Market-1501's).

    Args:
        images: the images, each a tracklet of one frame.
        clock: the ticks a second of the times in names: frames, in VeRi-776, whose cameras take 25.
    """
    times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for image in images:
        name = parse_name(Path(str(image.frames[0])).name)
        if name and not name.sequence and image.vehicle is not None and image.camera is not None:
            times[image.vehicle, image.camera].append(name.time / clock)
    return [
        Entry(f"{vehicle} {camera} {number}", camera, vehicle, (passage[0] + passage[-1]) / 2, frames=len(passage))
        for (vehicle, camera), seconds in times.items()
        for number, passage in enumerate(_apart(sorted(seconds)))
    ]


def _apart(seconds: Sequence[float]) -> Iterator[list[float]]:
    """Split times, in their order, where they are far apart."""
    start = 0
    for place in range(1, len(seconds) + 1):
        if place == len(seconds) or seconds[place] - seconds[place - 1] > _APART_S:
            yield list(seconds[start:place])
            start = place
