"""When vehicles passed cameras, by the names of a data set's images, as VeRi-776's tell it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from reid.runtime.file_names import parse_name
from reid.runtime.galleries.entry import Entry
from reid.runtime.tracklet import Tracklet

__all__ = ["passage_numbers", "passages"]

_APART_S = 10.0
"""Images of a vehicle by a camera that are further apart show two passages: tracks have gaps, of a second or so."""

_Moment: TypeAlias = tuple[float, int]  # in seconds, with the place of the image


def passages(images: Iterable[Tracklet], clock: float) -> list[Entry]:
    """Return the passages of vehicles, each with the middle of its time.

    Images without a vehicle or a camera are left out, and so are names that tell no time, or one that is counted anew
    in each recording (Market-1501's).

    Args:
        images: the images, each a tracklet of one frame.
        clock: the ticks a second of the times in names: frames, in VeRi-776, whose cameras take 25.
    """
    return [
        Entry(f"{vehicle} {camera} {number}", camera, vehicle, (seen[0][0] + seen[-1][0]) / 2, frames=len(seen))
        for (vehicle, camera), moments in _moments(images, clock).items()
        for number, seen in enumerate(_apart(moments))
    ]


def passage_numbers(images: Sequence[Tracklet], clock: float) -> list[int]:
    """Return which of its vehicle's passages of its camera each image shows, from 0; 0 where `passages` leaves it out.

    Args:
        images: the images, each a tracklet of one frame.
        clock: the ticks a second of the times in names.
    """
    numbers = [0] * len(images)
    for moments in _moments(images, clock).values():
        for number, seen in enumerate(_apart(moments)):
            for _, place in seen:
                numbers[place] = number
    return numbers


def _moments(images: Iterable[Tracklet], clock: float) -> dict[tuple[str, str], list[_Moment]]:
    """Return when each vehicle was seen by each camera, in order."""
    moments: defaultdict[tuple[str, str], list[_Moment]] = defaultdict(list)
    for place, image in enumerate(images):
        name = parse_name(Path(str(image.frames[0])).name)
        if name and not name.sequence and image.vehicle is not None and image.camera is not None:
            moments[image.vehicle, image.camera].append((name.time / clock, place))
    return {by: sorted(seen) for by, seen in moments.items()}


def _apart(moments: Sequence[_Moment]) -> Iterator[Sequence[_Moment]]:
    """Split moments, in their order, where they are far apart."""
    start = 0
    for place in range(1, len(moments) + 1):
        if place == len(moments) or moments[place][0] - moments[place - 1][0] > _APART_S:
            yield moments[start:place]
            start = place
