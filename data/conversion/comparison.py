"""What a layout could not hold: a data set that was written is read again, and compared with what it was made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from reid.data.conversion.content import Content, Part, Shot
from reid.data.conversion.labels import Labels
from reid.data.dataset import Dataset
from reid.runtime.errors import DataError

__all__ = ["losses"]

Name: TypeAlias = tuple[str, str]
"""A split and the path of an image below the root."""


def losses(written: Content, labels: Labels, names: Mapping[Shot, str], read: Content, result: Dataset) -> list[str]:
    """Return what was lost, a sentence for each kind.

    Args:
        written: what was to be written.
        labels: the names of vehicles and cameras.
        names: the images that were written -> their paths.
        read: what was read again.
        result: the data set that this is.

    Raises:
        DataError: images or vehicles do not come back.
    """
    drawn = any(one.draws for one in result.test_sets)
    here = [*written.shots, *(shot for one in written.sets for shots in one[1:] for shot in shots)]
    there = [*read.shots, *(shot for one in read.sets for shots in one[1:] for shot in shots)]
    expected = {(_split(shot.part, drawn), names[shot]): shot for shot in here if shot in names}
    found = {(_split(shot.part, drawn), _path(shot.source, result.root)): shot for shot in there}
    _check_images(expected, found, labels)
    sentences = [
        *_left_out(written, names, drawn),
        *_cameras(expected, found, labels),
        *_tracks(written, names, read, result.root),
        *_own_tracks(written, names, read, result.root),
    ]
    return [*sentences, *_test_sets(written, result)]


def _split(part: Part, drawn: bool) -> str:
    """Return the split of a part; a gallery that is drawn is one with its queries."""
    return "gallery" if drawn and part == "query" else "query" if part == "track" else part


def _path(source: Path, root: Path) -> str:
    return source.relative_to(root).as_posix()


def _check_images(expected: Mapping[Name, Shot], found: Mapping[Name, Shot], labels: Labels) -> None:
    if differing := expected.keys() ^ found.keys():
        split, name = min(differing)
        verb = "does not come back" if (split, name) in expected else "is read unexpectedly"
        raise DataError(
            f"{len(differing):,} images would not be read as they were, such as {name} ({split}), which {verb}; choose "
            "another --to, such as table"
        )
    for place, shot in expected.items():
        vehicle, other = labels.vehicles[shot.vehicle], found[place].vehicle
        if other != vehicle:
            raise DataError(
                f"{place[1]} of vehicle {vehicle} would be read as of {other}; choose another --to, such as table"
            )


def _left_out(written: Content, names: Mapping[Shot, str], drawn: bool) -> Iterator[str]:
    unknown = sum(shot.vehicle is None for shot in written.of("gallery"))
    kept = sum(shot.vehicle is None for shot in written.of("gallery") if shot in names)
    if unknown > kept:
        yield f"{unknown - kept:,} images of the gallery that show no known vehicle are left out"
    if rest := sum(shot not in names for shot in written.of("track")):
        yield f"{rest:,} images that only complete the tracks of queries are left out"
    if drawn and not any(one.drawn_from for one in written.sets):
        yield "which test images are queries is not kept: the layout's protocol draws them"


def _cameras(expected: Mapping[Name, Shot], found: Mapping[Name, Shot], labels: Labels) -> Iterator[str]:
    lost = made_up = 0
    unknown = ""
    for name, shot in expected.items():
        camera = found[name].camera
        if shot.camera is None and camera is not None:
            made_up += 1
            unknown = camera
        elif shot.camera is not None and camera != labels.cameras[shot.camera]:
            lost += 1
    if lost:
        yield f"the cameras of {lost:,} images are not kept"
    if made_up:
        yield f"{made_up:,} images without a camera are of camera {unknown}"
    if any(shot.vehicle is None for shot in expected.values()) and (name_of_none := labels.vehicles[None]):
        number = sum(shot.vehicle is None for shot in expected.values())
        yield f"{number:,} images of the gallery that show no known vehicle are of vehicle {name_of_none}"


def _tracks(written: Content, names: Mapping[Shot, str], read: Content, root: Path) -> Iterator[str]:
    parts: tuple[Part, ...] = ("labeled", "train", "gallery")
    for part in parts:
        before = _long(_tracks_of(written.of(part), names))
        after = _long(_tracks_of(read.of(part), {shot: _path(shot.source, root) for shot in read.of(part)}))
        if lost := before - after:
            yield f"{len(lost):,} of {len(before):,} tracks of {part} images are not kept"
        if made := after - before:
            yield f"{len(made):,} tracks of {part} images are made of all images of a vehicle and camera"


def _tracks_of(shots: Iterable[Shot], names: Mapping[Shot, str]) -> dict[int, tuple[str, ...]]:
    tracks: dict[int, list[Shot]] = defaultdict(list)
    for shot in shots:
        if shot.track is not None:
            tracks[shot.track].append(shot)
    ordered = {track: sorted(members, key=lambda shot: shot.place) for track, members in tracks.items()}
    return {track: tuple(names.get(shot, "") for shot in members) for track, members in ordered.items()}


def _long(tracks: Mapping[int, tuple[str, ...]]) -> set[tuple[str, ...]]:
    return {names for names in tracks.values() if len(names) > 1}


def _own_tracks(written: Content, names: Mapping[Shot, str], read: Content, root: Path) -> Iterator[str]:
    """Compare the tracks of several images that queries belong to."""
    before = _own(written, names)
    after = _own(read, {shot: _path(shot.source, root) for shot in read.shots})
    if lost := sum(len(track) > 1 and after.get(query) != track for query, track in before.items()):
        yield f"the tracks of {lost:,} queries are not kept"
    if made := sum(len(track) > 1 and len(before.get(query, ())) < 2 for query, track in after.items()):
        yield f"{made:,} queries are taken for images of a track of the gallery"


def _own(content: Content, names: Mapping[Shot, str]) -> dict[str, tuple[str, ...]]:
    of_gallery = _tracks_of(content.of("gallery"), names)
    of_queries = _tracks_of(content.of("query", "track"), names)
    return {
        names[shot]: of_gallery.get(shot.track) or of_queries[shot.track]
        for shot in content.of("query")
        if shot in names and shot.track is not None
    }


def _test_sets(written: Content, result: Dataset) -> Iterator[str]:
    kept = {one.name for one in result.test_sets}
    lost = [one.name for one in written.sets if one.name not in kept]
    if len(written.sets) > 1 and not kept:
        yield f"of the test sets {', '.join(one.name for one in written.sets)}, only the first is kept"
    elif lost and kept:
        yield f"the test sets {', '.join(lost)} are not kept"
    draws = {one.name: one.draws for one in result.test_sets}
    if any(one.drawn_from and not draws.get(one.name) for one in written.sets):
        yield "the galleries that the protocol draws anew are written as first drawn"
