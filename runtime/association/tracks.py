"""What is known of a track that has ended, and what two of them say about whether one vehicle can have made both."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import wrong_lengths
from reid.runtime.galleries.travel_times import TravelTimes

__all__ = ["SeenTrack", "by_end", "check_tracks", "compatible"]


@dataclass(frozen=True, slots=True, eq=False)
class SeenTrack:
    """A track that has ended.

    Attributes:
        id: a name of its own.
        camera: the camera that saw it.
        first_s: when it began, in seconds on a clock that all cameras share.
        last_s: when it ended.
        embedding: float32 [D], L2-normalized.
    """

    id: str
    camera: str
    first_s: float
    last_s: float
    embedding: NDArray[np.float32]

    @property
    def time_s(self) -> float:
        """The middle of the track."""
        return (self.first_s + self.last_s) / 2

    def overlaps(self, other: SeenTrack) -> bool:
        """Return whether both were there at some moment."""
        return self.first_s <= other.last_s and other.first_s <= self.last_s


def by_end(tracks: Iterable[SeenTrack]) -> list[SeenTrack]:
    """Return tracks in the order of their ends, whatever order they are in."""
    return sorted(tracks, key=lambda track: (track.last_s, track.first_s, track.camera, track.id))


def compatible(track: SeenTrack, members: Sequence[SeenTrack], travel: TravelTimes) -> bool:
    """Return whether a vehicle can have made a track and all members of an identity, going by places and times.

    Args:
        track: the track.
        members: the tracks of the identity, at least one.
        travel: the least time holds between the track and every member, the most since the latest member.
    """
    if any(one.camera == track.camera and one.overlaps(track) for one in members):
        return False
    latest = max(members, key=lambda one: one.time_s)
    if track.time_s - latest.time_s > _limits(travel, latest, track)[1]:
        return False
    return all(_least_s(travel, one, track) <= abs(track.time_s - one.time_s) for one in members)


def _least_s(travel: TravelTimes, one: SeenTrack, other: SeenTrack) -> float:
    before, after = (one, other) if one.time_s <= other.time_s else (other, one)
    return _limits(travel, before, after)[0]


def _limits(travel: TravelTimes, before: SeenTrack, after: SeenTrack) -> tuple[float, float]:
    return travel.limits.get((before.camera, after.camera), (0.0, math.inf))


def check_tracks(tracks: Iterable[SeenTrack], known: Collection[str], dimensions: int | None) -> None:
    """Check tracks that are to be given identities.

    Args:
        tracks: the tracks.
        known: the names that are taken.
        dimensions: the size of an embedding; None if any will do, as long as all have the same.

    Raises:
        DataError: a name is taken, a track has no camera or ends before it begins, or an embedding is not float32, not
            L2-normalized or of another size.
    """
    names: set[str] = set()
    for track in tracks:
        dimensions = dimensions or len(track.embedding)
        if track.id in known or track.id in names:
            raise DataError(f"track {track.id!r} was there before: give every track a name of its own")
        if flaw := _flaw(track, dimensions):
            raise DataError(f"track {track.id!r} {flaw}")
        names.add(track.id)


def _flaw(track: SeenTrack, dimensions: int) -> str:
    if not isinstance(track.camera, str) or not track.camera:
        return f"has the camera {track.camera!r}: name the camera that saw it, even if there is only one"
    if not -math.inf < track.first_s <= track.last_s < math.inf:
        return f"is from {track.first_s} to {track.last_s} s: give when it began and when it ended"
    if track.embedding.shape != (dimensions,):
        return f"has an embedding {list(track.embedding.shape)}, expected [{dimensions}]: embed all with one model"
    if track.embedding.dtype != np.float32:
        return f"has an embedding of {track.embedding.dtype}, expected float32: convert it"
    wrong = wrong_lengths(track.embedding[None])
    return f"cannot be compared, {wrong}: L2-normalize it" if wrong else ""
