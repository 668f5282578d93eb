"""File names that tell vehicle, camera, track and time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count, pairwise

from reid.data.conversion.content import Content, Shot, copies_in_gallery
from reid.data.conversion.labels import Labels
from reid.runtime.file_names import parse_name

__all__ = ["label_names"]

_LATEST = 10**12
_APART = 10_000
"""How far the times of two tracks are apart where the source tells no times."""


def label_names(content: Content, labels: Labels, *, with_tracks: bool) -> dict[Shot, str]:
    """Return the names of the images of all splits, such as 0002_c003_00084255_0.jpg.

    A query that is a copy of an image of the gallery has its name, since that is how its own track is found.

    Args:
        content: what is written.
        labels: the names of vehicles and cameras; without a camera, the names tell none.
        with_tracks: whether the names tell the track, as Market-1501's do: 0002_c3s1_00084255_0.jpg.
    """
    copies = copies_in_gallery(content.of("query"), content.of("gallery"))
    shots = [shot for shot in content.of("labeled", "train", "gallery", "query") if shot not in copies]
    times, tracks = _times(shots), _numbers_of_tracks(shots, labels) if with_tracks else {}
    names: dict[Shot, str] = {}
    taken: set[str] = set()
    for shot in shots:
        camera = labels.cameras.get(shot.camera)
        track = f"s{tracks[shot]}" if shot in tracks else ""
        stem = f"{labels.vehicles[shot.vehicle]}_{f'{camera}{track}_' if camera else ''}{times[shot]:08d}"
        stem = next(name for name in (f"{stem}_{k}" for k in count()) if name not in taken)
        taken.add(stem)
        names[shot] = stem + shot.source.suffix
    return names | {query: names[shot] for query, shot in copies.items()}


def _times(shots: Sequence[Shot]) -> dict[Shot, int]:
    """Return times that order the images of each track: those of the source's names where these do."""
    named = {shot: parse_name(shot.source.name) for shot in shots}
    times = {shot: name.time for shot, name in named.items() if name and name.time < _LATEST}
    if len(times) == len(shots) and all(_is_ascending(times[shot] for shot in track) for track in _tracks(shots)):
        return times
    alone = count(1 + max((shot.track for shot in shots if shot.track is not None), default=-1))
    return {
        shot: (next(alone) if shot.track is None else shot.track) * _APART + min(shot.place, _APART - 1)
        for shot in shots
    }


def _tracks(shots: Iterable[Shot]) -> Iterable[list[Shot]]:
    tracks: dict[int, list[Shot]] = defaultdict(list)
    for shot in shots:
        if shot.track is not None and shot.part != "query":
            tracks[shot.track].append(shot)
    return [sorted(members, key=lambda shot: shot.place) for members in tracks.values()]


def _is_ascending(times: Iterable[int]) -> bool:
    return all(one < other for one, other in pairwise(times))


def _numbers_of_tracks(shots: Iterable[Shot], labels: Labels) -> dict[Shot, int]:
    """Number the tracks of each vehicle and camera, from 1; an image without a track is one of its own."""
    numbers: dict[tuple[str | None, str | None], dict[object, int]] = defaultdict(dict)
    found = {}
    for shot in shots:
        of_view = numbers[labels.vehicles[shot.vehicle], labels.cameras.get(shot.camera)]
        found[shot] = of_view.setdefault(shot if shot.track is None else shot.track, len(of_view) + 1)
    return found
