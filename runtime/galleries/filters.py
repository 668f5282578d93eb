"""Filters that a whole set of queries is asked with, and whether enough is known for them to mean anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from reid.runtime.errors import DataError
from reid.runtime.galleries.conditions import ALWAYS, Condition, Travel
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.travel_times import Sighting, TravelTimes
from reid.runtime.tracklet import Tracklet

__all__ = ["Filters"]

_REMEDY = "make it with `reid-gallery append --sightings FILE`"
_NAMED = 8
"""Cameras that an error names."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What the matches of queries must be; as it stands, anything.

    Attributes:
        cameras: seen by one of these; None for any.
        not_cameras: seen by none of these.
        other_cameras: not seen by the query's own camera.
        since_s: seen at this time or later, in seconds on the gallery's clock; None for any.
        until_s: seen at this time or before; None for any.
        travel: seen where and when the query's vehicle can have been.
        times: the id of a query -> when it was seen.
    """

    cameras: frozenset[str] | None = None
    not_cameras: frozenset[str] = frozenset()
    other_cameras: bool = False
    since_s: float | None = None
    until_s: float | None = None
    travel: TravelTimes | None = None
    times: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether they leave anything out."""
        return self._need_cameras or self._need_times

    def condition(self, query: Tracklet) -> Condition:
        """Return what the matches of a query must be. The queries have to be checked."""
        own = {query.camera} if self.other_cameras and query.camera is not None else set()
        travel = None
        if self.travel is not None and query.camera is not None:
            travel = Travel(self.travel, Sighting(query.camera, self.times[query.id]))
        return Condition(self.cameras, self.not_cameras | own, self._time_s, travel)

    def check_queries(self, queries: Iterable[Tracklet]) -> None:
        """Raise DataError, naming a query, if what is known of it does not suffice."""
        for query in queries:
            missing = "camera" if query.camera is None and (self.other_cameras or self.travel is not None) else ""
            if self.travel is not None and query.id not in self.times:
                missing = missing or "time"
            if missing:
                raise DataError(f"the {missing} of query {query.id} is not known: state it in a file for --sightings")

    def check_gallery(self, name: object, entries: Iterable[Entry]) -> None:
        """Look at entries until there is what the filters need.

        Args:
            name: the gallery, as it is to be named.
            entries: its entries.

        Raises:
            DataError: no entry has a time, or a camera, or one of the cameras that are named, or any of those that
                travel times are of.
        """
        if not self:
            return
        seen, timed = set[str](), not self._need_times
        named = (self.cameras or frozenset()) | self.not_cameras
        linked = None if self.travel is None else frozenset(chain.from_iterable(self.travel.limits))
        for entry in entries:
            timed = timed or entry.time_s is not None
            if entry.camera is not None:
                seen.add(entry.camera)
            enough = (seen or not self._need_cameras) and named <= seen and (linked is None or linked & seen)
            if timed and enough:
                return
        if not seen and self._need_cameras:
            raise DataError(f"no entry of {name} has a camera: {_REMEDY}, or leave out filters by camera")
        if not timed:
            raise DataError(f"no entry of {name} has a time: {_REMEDY}, or leave out filters by time")
        if named - seen:
            raise DataError(f"no entry of {name} is of camera {min(named - seen)!r}; there are {_some(sorted(seen))}")
        raise DataError(
            f"no entry of {name} is of a camera of the travel times ({_some(sorted(linked or ())) or 'none'}); "
            f"there are {_some(sorted(seen))}"
        )

    @property
    def facts(self) -> Mapping[str, object]:
        """What is asked for, by the names of its options, for files."""
        given = {
            "camera": sorted(self.cameras) if self.cameras is not None else None,
            "not_camera": sorted(self.not_cameras) or None,
            "other_cameras": self.other_cameras or None,
            "since_s": self.since_s,
            "until_s": self.until_s,
            "travel_times": None if self.travel is None else len(self.travel.limits),
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def _time_s(self) -> tuple[float, float] | None:
        if self.since_s is None and self.until_s is None:
            return None
        first, last = ALWAYS
        return (first if self.since_s is None else self.since_s, last if self.until_s is None else self.until_s)

    @property
    def _need_times(self) -> bool:
        return self._time_s is not None or self.travel is not None

    @property
    def _need_cameras(self) -> bool:
        return self.cameras is not None or bool(self.not_cameras) or self.other_cameras or self.travel is not None


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
