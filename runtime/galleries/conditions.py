"""Which entries of a gallery a query may match."""

from __future__ import annotations

from dataclasses import dataclass

from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.travel_times import Sighting, TravelTimes

__all__ = ["ALWAYS", "ANY", "Condition", "Travel"]


@dataclass(frozen=True, slots=True)
class Travel:
    """A vehicle was seen, so it can only have been elsewhere when there was time to get from one to the other.

    Attributes:
        times: the travel times between pairs of cameras.
        seen: where and when the query was seen.
    """

    times: TravelTimes
    seen: Sighting


@dataclass(frozen=True, slots=True)
class Condition:
    """What an entry must be to be a match of one query; as it stands, any entry is.

    An entry of which something is not known that a condition is about is no match, but `not_cameras` lets an entry
    without a camera pass.

    Attributes:
        cameras: only these.
        not_cameras: none of these.
        time_s: seen within these two times, ends included.
        travel: seen where and when the query's vehicle can have been.
    """

    cameras: frozenset[str] | None = None
    not_cameras: frozenset[str] = frozenset()
    time_s: tuple[float, float] | None = None
    travel: Travel | None = None

    def allows_camera(self, camera: str | None) -> bool:
        """Return whether an entry of a camera may be a match, as far as the camera decides it."""
        if camera is None:
            return self.cameras is None and self.travel is None
        return camera not in self.not_cameras and (self.cameras is None or camera in self.cameras)

    def windows(self, camera: str | None) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Return the two windows of time that travel leaves for a camera; None where there is no limit."""
        return None if self.travel is None or camera is None else self.travel.times.windows(self.travel.seen, camera)

    @property
    def needs_time(self) -> bool:
        """Whether an entry without a time is no match."""
        return self.time_s is not None or self.travel is not None

    def allows(self, entry: Entry) -> bool:
        """Return whether an entry may be a match."""
        if not self.allows_camera(entry.camera) or (self.needs_time and entry.time_s is None):
            return False
        return entry.time_s is None or (
            (self.time_s is None or self.time_s[0] <= entry.time_s <= self.time_s[1])
            and any(first <= entry.time_s <= last for first, last in self.windows(entry.camera) or [ALWAYS])
        )


ALWAYS = (-float("inf"), float("inf"))
"""Between these two times, everything was seen."""

ANY = Condition()
"""Any entry is a match."""
