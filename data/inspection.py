"""Inspection of a data set: open every image, count what is there, and find what is wrong."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from reid.data.dataset import Dataset, Problem, Split
from reid.runtime.errors import DataError
from reid.runtime.imaging import decode, read_image
from reid.runtime.progress import SILENT, Progress
from reid.runtime.tracklet import Tracklet

__all__ = ["Counts", "Inspection", "inspect"]

_GALLERY_OF = {"query": "gallery", "challenge query": "challenge gallery"}


@dataclass(frozen=True, slots=True)
class Counts:
    """The size of a split."""

    identities: int
    cameras: int
    images: int
    tracklets: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """A data set's counts per split, and its problems in the order in which they were found."""

    layout: str
    splits: dict[str, Counts]
    problems: tuple[Problem, ...]


def inspect(dataset: Dataset, progress: Progress = SILENT) -> Inspection:
    """Open every image once; report the counts and every problem.

    Args:
        dataset: the data set, as read from its lists.
        progress: follows the images as they are opened.
    """
    splits = {"train": dataset.train, "query": dataset.query, "gallery": dataset.gallery}
    if dataset.challenge:
        splits["challenge query"] = Split(dataset.challenge.query)
        splits["challenge gallery"] = Split(dataset.challenge.gallery)
    counts = {name: _count(split) for name, split in splits.items()}
    problems = [
        *dataset.problems,
        *_shared_identities(dataset),
        *_image_problems(dataset.root, splits, progress),
    ]
    return Inspection(dataset.layout, counts, tuple(problems))


def _count(split: Split) -> Counts:
    return Counts(
        identities=len({image.vehicle for image in split.images} - {None}),
        cameras=len({image.camera for image in split.images} - {None}),
        images=len(split.images),
        tracklets=len({tracklet.frames for tracklet in split.tracklets}),
    )


def _shared_identities(dataset: Dataset) -> Iterator[Problem]:
    train = {image.vehicle for image in dataset.train.images}
    test = {image.vehicle for image in (*dataset.query.images, *dataset.gallery.images)}
    for vehicle in sorted(str(vehicle) for vehicle in train & test):
        yield Problem("identity in train and test", vehicle, "results on it say nothing about unseen vehicles")


def _image_problems(root: Path, splits: dict[str, Split], progress: Progress) -> Iterator[Problem]:
    images = _images(splits)
    outcomes: dict[Path, bytes | DataError] = {}
    progress.begin("opening", len(images), "images")
    with ThreadPoolExecutor() as pool:
        for path, outcome in zip(images, pool.map(_open, images), strict=True):
            outcomes[path] = outcome
            progress.advance()
    for path, outcome in outcomes.items():
        if isinstance(outcome, DataError):
            yield Problem("unreadable image", _relative(path, root), str(outcome).removeprefix(f"{path}: "))
    yield from _duplicates(root, images, outcomes)


def _images(splits: dict[str, Split]) -> dict[Path, tuple[str, Tracklet]]:
    """List every image file with its split and labels; a file in both gallery and query counts as gallery."""
    files: dict[Path, tuple[str, Tracklet]] = {}
    for name in sorted(splits, key=lambda name: name in _GALLERY_OF):  # queries last
        for image in splits[name].images:
            files |= {path: (name, image) for path in _paths(image) if path not in files}
    # In tracklet folders, the other frames of a query's tracklet are not images of any split.
    for name, split in splits.items():
        for tracklet in split.tracklets:
            files |= {path: (name, tracklet) for path in _paths(tracklet) if path not in files}
    return files


def _paths(tracklet: Tracklet) -> Iterator[Path]:
    return (frame for frame in tracklet.frames if isinstance(frame, Path))


def _open(path: Path) -> bytes | DataError:
    """Return the digest of an image's bytes, or the reason why it cannot be decoded."""
    try:
        content = read_image(path)
        decode(content, path)
    except DataError as error:
        return error
    return hashlib.blake2b(content, digest_size=16).digest()


def _duplicates(
    root: Path, images: Mapping[Path, tuple[str, Tracklet]], outcomes: Mapping[Path, bytes | DataError]
) -> Iterator[Problem]:
    """Find images with the same bytes, except a query's copy in the gallery, which is how VeRi makes its queries.

    Such a copy shows the query's vehicle from the query's camera, so no protocol ranks it.
    """
    seen: dict[bytes, dict[_View, Path]] = defaultdict(dict)
    for path, (split, image) in images.items():
        digest = outcomes[path]
        if isinstance(digest, DataError):
            continue
        view = _View(split, image.vehicle, image.camera)
        others = (other for earlier, other in seen[digest].items() if not view.is_query_of(earlier))
        for other in islice(others, 1):
            yield Problem("duplicate", _relative(path, root), f"same content as {_relative(other, root)}")
        seen[digest].setdefault(view, path)


class _View(NamedTuple):
    split: str
    vehicle: str | None
    camera: str | None

    def is_query_of(self, other: _View) -> bool:
        same_camera = self.camera == other.camera or None in (self.camera, other.camera)
        return _GALLERY_OF.get(self.split) == other.split and self.vehicle == other.vehicle and same_camera


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
