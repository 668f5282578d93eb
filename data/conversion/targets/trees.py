"""Tracklets as folders: in those of vehicles, or in those of cameras."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import count

from reid.data.conversion.content import Content, Shot
from reid.data.conversion.labels import Labels
from reid.data.conversion.targets.target import Names
from reid.runtime.errors import DataError

__all__ = ["names_by_camera", "names_by_vehicle"]


def names_by_vehicle(content: Content, labels: Labels) -> Names:
    """Return the names VEHICLE/CAMERA_TRACK/IMAGE."""

    def folder(vehicle: str, camera: str | None, track: int) -> str:
        return f"{vehicle}/{camera}_{track:04d}" if camera else f"{vehicle}/track_{track:04d}"

    return _names(content, labels, folder)


def names_by_camera(content: Content, labels: Labels) -> Names:
    """Return the names CAMERA/VEHICLE/TRACK/IMAGE. Raises DataError if no camera is known."""
    if not any(labels.cameras.values()):
        raise DataError(
            "the layout camera-vehicle sorts images by camera, and the data set tells none; choose "
            "--to vehicle-folders or table"
        )

    def folder(vehicle: str, camera: str | None, track: int) -> str:
        return f"{camera}/{vehicle}/track_{track:04d}"

    return _names(content, labels, folder)


def _names(content: Content, labels: Labels, folder_of: Callable[[str, str | None, int], str]) -> Names:
    names = {}
    alone = count(2 + max((shot.track for shot in content.shots if shot.track is not None), default=-1))
    for shot, track in _with_tracks(content):
        number = next(alone) if track is None else track + 1
        folder = folder_of(str(labels.vehicles[shot.vehicle]), labels.cameras.get(shot.camera), number)
        part = "query" if shot.part == "track" else shot.part
        place = 0 if track is None else shot.place
        names[shot] = f"{'' if part == 'labeled' else f'{part}/'}{folder}/{place:04d}{shot.source.suffix}"
    return names


def _with_tracks(content: Content) -> Iterator[tuple[Shot, int | None]]:
    """Yield the images that are written, and their tracks.

    The query image of a track is its middle one. Where it would be another one, the query is a track of its own.
    """
    of_queries: dict[int | None, list[Shot]] = defaultdict(list)
    for shot in content.of("query", "track"):
        of_queries[shot.track].append(shot)
    in_gallery = {shot.track for shot in content.of("gallery")}
    asked = Counter(shot.track for shot in content.of("query"))
    for shot in content.shots:
        if shot.part not in ("query", "track"):
            yield shot, shot.track
            continue
        own = of_queries[shot.track]
        middle = sorted(own, key=lambda one: one.place)[len(own) // 2]
        is_whole = shot.track is not None and shot.track not in in_gallery
        if is_whole and asked[shot.track] == 1 and middle.part == "query":
            yield shot, shot.track
        elif shot.part == "query":
            yield shot, None
