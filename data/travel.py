"""How long vehicles take from camera to camera, learned from sightings of known vehicles."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.travel_times import Sighting, TravelTimes

__all__ = ["Journeys", "journeys", "journeys_for", "learn_travel", "limits_of"]

Journeys: TypeAlias = Mapping[tuple[str, str], Sequence[float]]
"""(from, to) -> the seconds of each journey, shortest first; pairs are in the order of their names."""


def learn_travel(entries: Iterable[Entry], *, share: float = 0.98, fewest: int = 20) -> TravelTimes:
    """Learn the least and the most seconds between pairs of cameras: `limits_of` the `journeys` in these sightings."""
    return limits_of(journeys(entries), share=share, fewest=fewest)


def journeys(entries: Iterable[Entry]) -> Journeys:
    """Return the journeys in sightings; those without a vehicle, a camera or a time are left out.

    What counts, from a sighting by one camera, is the time to the first by another that follows before the vehicle is
    back at the first camera; and the time until it is back.
    """
    sightings: defaultdict[str, list[Sighting]] = defaultdict(list)
    for entry in entries:
        if entry.vehicle is not None and entry.camera is not None and entry.time_s is not None:
            sightings[entry.vehicle].append(Sighting(entry.camera, entry.time_s))
    seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for seen in sightings.values():
        for pair, duration in _journeys_of_one(sorted(seen, key=lambda one: (one.time_s, one.camera))):
            seconds[pair].append(duration)
    return {pair: sorted(seconds[pair]) for pair in sorted(seconds)}


def journeys_for(share: float, fewest: int = 20) -> int:
    """Return how many journeys a pair of cameras needs; see `limits_of`."""
    return max(fewest, math.ceil(2 / (1 - share) - 1e-6) - 1)


def limits_of(found: Journeys, *, share: float = 0.98, fewest: int = 20) -> TravelTimes:
    """Return the least and the most seconds of pairs of cameras, where there are enough journeys.

    The limits are the r-th shortest and the r-th longest time of a pair: of n + 1 journeys in any order, the last one
    is beyond each with a probability of r / (n + 1), whatever their distribution (Wilks, *Determination of sample sizes
    for setting tolerance limits*, 1941).

    Args:
        found: the journeys.
        share: how likely a journey to come lies within the limits, at least; above 0 and below 1. A pair whose shortest
            and longest time promise less gets none: 0.98 takes 99 journeys, and 0.9 takes 19.
        fewest: the fewest journeys that a pair needs whatever the share: those of few vehicles are alike.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}, expected above 0 and below 1")
    limits = {pair: _limits(seconds, share) for pair, seconds in found.items() if len(seconds) >= fewest}
    return TravelTimes({pair: one for pair, one in limits.items() if one is not None})


def _journeys_of_one(seen: Sequence[Sighting]) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield the pair of cameras and the seconds of each journey of a vehicle, whose sightings are in order of time."""
    for number, start in enumerate(seen):
        reached: set[str] = set()
        for end in seen[number + 1 :]:
            if end.camera not in reached:
                yield (start.camera, end.camera), end.time_s - start.time_s
                reached.add(end.camera)
            if end.camera == start.camera:
                break


def _limits(ordered: Sequence[float], share: float) -> tuple[float, float] | None:
    rank = math.floor((1 - share) / 2 * (len(ordered) + 1) + 1e-9)  # 0.01 of 100 is below 1 in floating point
    return (ordered[rank - 1], ordered[-rank]) if rank else None
