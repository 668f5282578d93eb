"""Tracklets made from images, and the tracklet that a query image belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from reid.data.dataset import Problem
from reid.runtime.file_names import parse_name
from reid.runtime.tracklet import Tracklet

__all__ = ["group_into_tracklets", "own_tracklets", "tracklets_from_list"]


def tracklets_from_list(
    tracks: Iterable[tuple[str, list[str]]],
    images: Sequence[Tracklet],
    folder: str,
    there: Collection[str],
    list_name: str,
    problems: list[Problem],
) -> tuple[Tracklet, ...]:
    """Join images into tracklets as a track list says; whatever does not fit becomes a problem.

    A track takes vehicle and camera from its first frame; frames of another vehicle or camera are left out.

    Args:
        tracks: the tracks, as read_tracks returns them.
        images: the images that can be used.
        folder: the name of the images' folder.
        there: the names of the files in it; one that cannot be used is not a problem of the track list.
        list_name: the track list's file name.
        problems: the list to add problems to; a missing image that it already names is not named again.
    """
    reported = {problem.where for problem in problems if problem.kind == "missing file"}
    by_name = {_name(image): image for image in images}
    used: set[str] = set()
    tracklets = []
    for track_name, names in tracks:
        present = [by_name[name] for name in names if name in by_name]
        absent = [f"{folder}/{name}" for name in names if name not in by_name and name not in there]
        problems += [Problem("missing file", where, f"is in {list_name}") for where in absent if where not in reported]
        problems += [Problem("duplicate", list_name, f"{name} is in two tracks") for name in names if name in used]
        used.update(names)
        if present:
            tracklets.append(_join(present, track_name, list_name, problems))
    problems += [
        Problem("not in a track", f"{folder}/{name}", f"not in {list_name}") for name in by_name if name not in used
    ]
    return tuple(tracklets)


def _join(images: Sequence[Tracklet], name: str, list_name: str, problems: list[Problem]) -> Tracklet:
    first = images[0]
    same = [image for image in images if (image.vehicle, image.camera) == (first.vehicle, first.camera)]
    if len(same) < len(images):
        detail = f"the track of {first.id} has {len(images) - len(same)} frames of another vehicle or camera"
        problems.append(Problem("mixed track", list_name, detail))
    frames = tuple(frame for image in same for frame in image.frames)
    return Tracklet(name or first.id, frames, first.camera, first.vehicle)


def group_into_tracklets(images: Sequence[Tracklet]) -> tuple[Tracklet, ...]:
    """Group images by vehicle, camera and sequence into tracklets, each in order of time."""
    groups: dict[tuple[str | None, str | None, str], list[tuple[int, Tracklet]]] = defaultdict(list)
    for image in images:
        sequence, time = _moment(_name(image))
        groups[image.vehicle, image.camera, sequence].append((time, image))
    tracklets = []
    for (vehicle, camera, sequence), members in groups.items():
        ordered = [image for _, image in sorted(members, key=lambda member: member[0])]
        identity = "_".join(filter(None, (vehicle, camera, sequence)))
        tracklets.append(Tracklet(identity, tuple(image.frames[0] for image in ordered), camera, vehicle))
    return tuple(tracklets)


def own_tracklets(queries: Sequence[Tracklet], tracklets: Iterable[Tracklet]) -> tuple[Tracklet, ...]:
    """Return the tracklet that each query image belongs to.

    This is the tracklet of its vehicle and camera that holds the query's frame (the file itself, or one with the same
    name), or else the one nearest in time. A query whose name tells no time, or whose vehicle and camera have no
    tracklet, is its own tracklet.
    """
    candidates: dict[tuple[str | None, str | None], list[Tracklet]] = defaultdict(list)
    for tracklet in tracklets:
        candidates[tracklet.vehicle, tracklet.camera].append(tracklet)
    return tuple(_own_tracklet(query, candidates[query.vehicle, query.camera]) for query in queries)


def _own_tracklet(query: Tracklet, candidates: Sequence[Tracklet]) -> Tracklet:
    name = _name(query)
    for tracklet in candidates:
        if query.frames[0] in tracklet.frames:
            return tracklet
    for tracklet in candidates:
        if name in map(_file_name, tracklet.frames):
            return tracklet
    if parse_name(name) is None:
        return query
    return min(candidates, key=lambda tracklet: _time_distance(name, tracklet), default=query)


def _time_distance(name: str, tracklet: Tracklet) -> tuple[bool, int]:
    """Return a key that sorts tracklets by their distance in time from a query, its own recording first."""
    sequence, time = _moment(name)
    moments = (_moment(_file_name(frame)) for frame in tracklet.frames)
    return min((other != sequence, abs(other_time - time)) for other, other_time in moments)


def _moment(file_name: str) -> tuple[str, int]:
    name = parse_name(file_name)
    return (name.sequence, name.time) if name else ("", 0)


def _name(image: Tracklet) -> str:
    return _file_name(image.frames[0])


def _file_name(frame: object) -> str:
    return frame.name if isinstance(frame, Path) else ""
