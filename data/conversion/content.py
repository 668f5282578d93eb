"""What a data set holds, without its layout: a shot an image, with its labels, its split and its place in a track."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from reid.data.dataset import Dataset, Split
from reid.data.draws import draw_gallery
from reid.runtime.files.reading import sha256_of
from reid.runtime.tracklet import Frame, Tracklet

__all__ = ["Content", "Part", "Shot", "ShotSet", "content_of", "copies_in_gallery"]

Part: TypeAlias = Literal["labeled", "train", "query", "track", "gallery"]
"""The split of a shot; "labeled" where the data set has none, "track" for what only completes a query's own track."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """An image in a split.

    Attributes:
        part: the split.
        source: the file.
        vehicle: the vehicle; None for an image of the gallery that shows none that is known.
        camera: the camera; None if unknown.
        track: the number of its track, for a query that of its own track; None if it has none.
        place: the place in its track, from 0.
    """

    part: Part
    source: Path
    vehicle: str | None
    camera: str | None
    track: int | None = None
    place: int = 0


class ShotSet(NamedTuple):
    """A test set.

    Attributes:
        name: its name.
        query: the queries, of the first draw if the gallery is drawn.
        gallery: the gallery, of the first draw if it is drawn.
        drawn_from: what the gallery is drawn from; empty if it is as it is.
    """

    name: str
    query: tuple[Shot, ...]
    gallery: tuple[Shot, ...]
    drawn_from: tuple[Shot, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """What a data set holds.

    Attributes:
        shots: the images of its splits.
        sets: its test sets, if it has several; `shots` hold the first.
    """

    shots: tuple[Shot, ...]
    sets: tuple[ShotSet, ...] = ()

    def of(self, *parts: Part) -> tuple[Shot, ...]:
        """Return the images of some splits, in their order."""
        return tuple(shot for shot in self.shots if shot.part in parts)

    def test_sets(self) -> tuple[ShotSet, ...]:
        """Return the test sets; queries and gallery are one that is named by the number of its vehicles."""
        query, gallery = self.of("query"), self.of("gallery")
        vehicles = {shot.vehicle for shot in (*query, *gallery)} - {None}
        return self.sets or ((ShotSet(str(len(vehicles)), query, gallery),) if vehicles else ())

    def without(self, sources: Collection[Path]) -> Content:
        """Return the content without some files."""

        def kept(shots: Iterable[Shot]) -> tuple[Shot, ...]:
            return tuple(shot for shot in shots if shot.source not in sources)

        sets = (ShotSet(one.name, *map(kept, one[1:])) for one in self.sets)
        return replace(self, shots=kept(self.shots), sets=tuple(sets))


def content_of(dataset: Dataset, *, pooled: bool) -> Content:
    """Return what a data set holds.

    Args:
        dataset: the data set.
        pooled: whether held-out vehicles are put back, so that nothing is split that was not split on the disk.
    """
    numbers = count()
    if pooled and dataset.split_facts:
        splits = (dataset.train, dataset.gallery, dataset.query)
        images = {image.frames: image for split in splits for image in split.images}
        tracklets = {one.frames: one for split in splits[:2] for one in split.tracklets}
        return Content(_shots("labeled", images.values(), _places(tracklets.values(), numbers)))
    train = _shots("train", dataset.train.images, _places(dataset.train.tracklets, numbers))
    places = _places(dataset.gallery.tracklets, numbers)
    gallery = _shots("gallery", dataset.gallery.images, places)
    queries = tuple(_query_shots(dataset.query, dataset.gallery, places, numbers))
    sets = []
    for one in dataset.test_sets:
        query, found = draw_gallery(one, 0) if one.draws else (one.query, one.gallery)
        everything = _shots("gallery", one.gallery.images, {}) if one.draws else ()
        sets.append(
            ShotSet(one.name, _shots("query", query.images, {}), _shots("gallery", found.images, {}), everything)
        )
    return Content((*train, *queries, *gallery), tuple(sets))


def _places(tracklets: Iterable[Tracklet], numbers: Iterator[int]) -> dict[Frame, tuple[int, int]]:
    """Return each frame's track and its place in it; of a frame in two tracks, the first."""
    places: dict[Frame, tuple[int, int]] = {}
    for tracklet in tracklets:
        number = next(numbers)
        for place, frame in enumerate(tracklet.frames):
            places.setdefault(frame, (number, place))
    return places


def _shots(part: Part, images: Iterable[Tracklet], places: Mapping[Frame, tuple[int | None, int]]) -> tuple[Shot, ...]:
    frames = ((image, image.frames[0]) for image in images)
    return tuple(
        Shot(part, frame, image.vehicle, image.camera, *places.get(frame, (None, 0)))
        for image, frame in frames
        if isinstance(frame, Path)
    )


def _query_shots(
    query: Split, gallery: Split, places: Mapping[Frame, tuple[int, int]], numbers: Iterator[int]
) -> Iterator[Shot]:
    """Yield the queries, and the frames that only complete their own tracks."""
    known = {tracklet.frames: places[tracklet.frames[0]][0] for tracklet in gallery.tracklets}
    asked = {image.frames[0] for image in query.images}
    for image, own in zip(query.images, query.tracklets or query.images, strict=True):
        frame = image.frames[0]
        if own.frames == image.frames:
            yield from _shots("query", [image], places)
            continue
        is_new = own.frames not in known
        number = known.setdefault(own.frames, next(numbers))
        names = [_name(one) for one in own.frames]
        exact = own.frames.index(frame) if frame in own.frames else -1
        place = exact if exact >= 0 else names.index(_name(frame)) if _name(frame) in names else 0
        yield from _shots("query", [image], {frame: (number, place)})
        if is_new:
            rest = [(k, one) for k, one in enumerate(own.frames) if one not in asked]
            for k, one in rest:
                yield from _shots("track", [Tracklet("", (one,), own.camera, own.vehicle)], {one: (number, k)})


def _name(frame: Frame) -> str:
    return frame.name if isinstance(frame, Path) else ""


def copies_in_gallery(query: Iterable[Shot], gallery: Iterable[Shot]) -> dict[Shot, Shot]:
    """Return the queries that are images of the gallery, or copies of them -> these.

    A copy has the vehicle, the file name and the bytes of the other.
    """
    named: defaultdict[tuple[str | None, str], list[Shot]] = defaultdict(list)
    for shot in gallery:
        named[shot.vehicle, shot.source.name].append(shot)
    copies = {}
    for shot in query:
        candidates = named[shot.vehicle, shot.source.name]
        same = next((one for one in candidates if one.source == shot.source), None)
        same = same or next((one for one in candidates if _same_bytes(one.source, shot.source)), None)
        if same:
            copies[shot] = same
    return copies


def _same_bytes(one: Path, other: Path) -> bool:
    try:
        return sha256_of(one) == sha256_of(other)
    except OSError:
        return False
