"""The frames that a graph is calibrated on: from the training split, spread evenly over cameras and vehicles."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from reid.data.dataset import Dataset, Split
from reid.data.layout import read_dataset
from reid.data.readers.trees import SPLIT_FOLDERS
from reid.runtime.errors import DataError
from reid.runtime.files.archives import is_archive
from reid.runtime.folders import tracklets_in, what_is_left_out
from reid.runtime.imaging import as_model_input, read_frame
from reid.runtime.listing import list_tree
from reid.runtime.model_card import Preprocessing
from reid.runtime.tracklet import Tracklet

__all__ = ["CalibrationFacts", "CalibrationSet", "open_calibration_data", "select_frames"]

_EVALUATION_FOLDERS = frozenset({*SPLIT_FOLDERS["query"], *SPLIT_FOLDERS["gallery"]})
_REMEDY = "give the data set's own folder, or allow it with --calibrate-on-evaluation-data"


class CalibrationFacts(BaseModel):
    """The facts about a calibration set, as scale file and bundle record them.

    Attributes:
        split: the split that the frames are from.
        requested: the number of frames asked for; more than `count` if there were not as many.
        count: the number of frames chosen.
        seed: the seed of the choice.
        cameras: camera -> number of frames.
        vehicles: the number of different vehicles, as far as they are known.
        unreadable: the number of frames left out because they could not be read.
        names_sha256: the SHA-256 of the names relative to the data set, sorted, each followed by a line feed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["train", "evaluation"]
    requested: int = Field(gt=0)
    count: int = Field(gt=0)
    seed: int = Field(ge=0, lt=1 << 64)
    cameras: dict[str, Annotated[int, Field(gt=0)]]
    vehicles: int = Field(ge=0)
    unreadable: int = Field(ge=0)
    names_sha256: str


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Frames to calibrate on.

    Attributes:
        images: the frames in the order in which they were chosen, so that the first n are spread evenly as well.
        facts: the facts about them.
        unreadable: a sentence for each frame that was left out, which names the file and the reason.
    """

    images: tuple[Tracklet, ...]
    facts: CalibrationFacts
    unreadable: tuple[str, ...] = ()

    def batches(self, preprocessing: Preprocessing, batch_size: int = 4) -> Iterator[NDArray[np.uint8]]:
        """Decode and resize the frames as inference does; yield uint8 [n, 3, H, W], n up to `batch_size`.

        Raises:
            DataError: a frame can no longer be read.
        """
        for start in range(0, len(self.images), batch_size):
            try:
                crops = [read_frame(image.frames[0]) for image in self.images[start : start + batch_size]]
            except DataError as error:
                raise DataError(f"{error}; it was readable when the frames were chosen: restore it") from None
            yield np.stack([as_model_input(crop, preprocessing) for crop in crops])


def open_calibration_data(root: Path, layout: str | None = None, *, allow_evaluation_data: bool = False) -> Dataset:
    """Read the data set that a graph is to be calibrated on.

    Calibrating on the images that the model is evaluated on would make it look better than it is, so these are refused.

    Args:
        root: the data set's folder.
        layout: the name of its layout, one of READERS; None to recognize it.
        allow_evaluation_data: whether to accept a folder of query or gallery images, one without labels, and a data set
            without training images. Such images are in the `gallery` of the result.

    Raises:
        DataError: read_dataset raises it, or there is no training split and `allow_evaluation_data` is false.
    """
    if _is_evaluation_folder(root):
        if allow_evaluation_data:
            return _as_gallery(root)
        raise DataError(f"{root} is a folder of evaluation images; calibration needs the training split: {_REMEDY}")
    dataset = read_dataset(root, layout)
    if allow_evaluation_data and not _images(dataset, allow_evaluation_data):
        return _as_gallery(root)
    _check_split(dataset, allow_evaluation_data)
    return dataset


def select_frames(
    dataset: Dataset,
    count: int,
    seed: int,
    *,
    exclude_vehicles: Set[str] = frozenset(),
    allow_evaluation_data: bool = False,
) -> CalibrationSet:
    """Choose readable training images, spread as evenly as possible over the pairs of camera and vehicle.

    No pair gives a second image before every pair has given one; among those that have not, the camera with the fewest
    chosen images is next, then the vehicle with the fewest. The choice depends on names, labels and seed alone, and
    with the same seed a smaller choice is the beginning of a larger one.

    Args:
        dataset: the data set that open_calibration_data returned.
        count: the number of frames to choose; if there are fewer, all are chosen, and the facts say so.
        seed: the seed of the choice among equals.
        exclude_vehicles: the vehicles to leave out, such as those held out to measure on.
        allow_evaluation_data: see open_calibration_data.

    Raises:
        DataError: there is nothing to choose from, nothing is readable, or an image has a single color.
    """
    _check_split(dataset, allow_evaluation_data)
    images = [i for i in _images(dataset, allow_evaluation_data) if i.vehicle not in exclude_vehicles]
    unreadable: list[str] = []
    cells = {
        cell: (image for image in members if _is_usable(image, unreadable))
        for cell, members in _shuffled_cells(images, dataset.root, seed).items()
    }
    chosen = tuple(islice(_evenly(cells), max(count, 0)))
    if not chosen:
        cause = unreadable[0] if unreadable else f"{count} asked for, of {len(images)}"
        raise DataError(
            f"{dataset.root}: no frames to calibrate on ({cause}); `reid-data inspect` shows what it contains"
        )
    facts = CalibrationFacts(
        split="train" if dataset.train.images else "evaluation",
        requested=count,
        count=len(chosen),
        seed=seed,
        cameras=dict(sorted(Counter(_camera(image) for image in chosen).items())),
        vehicles=len({image.vehicle for image in chosen} - {None}),
        unreadable=len(unreadable),
        names_sha256=_digest(_name(image, dataset.root) for image in chosen),
    )
    return CalibrationSet(chosen, facts, tuple(unreadable))


def _is_evaluation_folder(root: Path) -> bool:
    folders = set(list_tree(root).folder("").folders)
    paths = (root.absolute(), Path(os.path.realpath(root)))
    names = {path.stem if is_archive(path) else path.name for path in paths}
    has_splits = not folders.isdisjoint(itertools.chain(*SPLIT_FOLDERS.values()))
    return not has_splits and not _EVALUATION_FOLDERS.isdisjoint(names)


def _as_gallery(root: Path) -> Dataset:
    listing = list_tree(root)
    frames = ((tracklet, frame) for tracklet in tracklets_in(listing) for frame in tracklet.frames)
    images = tuple(Tracklet(str(frame), (frame,), tracklet.camera, tracklet.vehicle) for tracklet, frame in frames)
    files = sum(1 for _ in listing.files())
    return Dataset("flat", root, Split(), Split(), Split(images), left_out=what_is_left_out(listing), files=files)


def _images(dataset: Dataset, allow_evaluation_data: bool) -> tuple[Tracklet, ...]:
    if dataset.train.images or not allow_evaluation_data:
        return dataset.train.images
    return dataset.gallery.images or dataset.query.images


def _check_split(dataset: Dataset, allow_evaluation_data: bool) -> None:
    if not _images(dataset, allow_evaluation_data):
        raise DataError(
            f"{dataset.root} has no training images in layout {dataset.layout}; calibration needs the training split: "
            f"{_REMEDY}"
        )


def _shuffled_cells(images: Sequence[Tracklet], root: Path, seed: int) -> dict[tuple[str, str], list[Tracklet]]:
    """Group images by camera and vehicle, in an order that depends on their names and the seed alone."""
    by_name = sorted(images, key=lambda image: _name(image, root))
    cells: dict[tuple[str, str], list[Tracklet]] = defaultdict(list)
    for index in np.random.default_rng(seed).permutation(len(by_name)):
        image = by_name[index]
        cells[_camera(image), image.vehicle or ""].append(image)
    return cells


def _evenly(cells: Mapping[tuple[str, str], Iterator[Tracklet]]) -> Iterator[Tracklet]:
    """Yield all images, in such an order that the first n, for any n, are spread evenly."""
    left = dict(cells)
    cameras, vehicles = Counter[str](), Counter[str]()
    while left:
        waiting: dict[str, list[str]] = defaultdict(list)  # camera -> vehicles yet to give an image in this round
        for camera, vehicle in left:
            waiting[camera].append(vehicle)
        while waiting:
            camera = min(waiting, key=cameras.__getitem__)
            vehicle = min(waiting[camera], key=vehicles.__getitem__)
            waiting[camera].remove(vehicle)
            if not waiting[camera]:
                del waiting[camera]
            image = next(left[camera, vehicle], None)
            if image is None:
                del left[camera, vehicle]
                continue
            cameras[camera] += 1
            vehicles[vehicle] += 1
            yield image


def _is_usable(image: Tracklet, unreadable: list[str]) -> bool:
    try:
        pixels = read_frame(image.frames[0])
    except DataError as error:
        unreadable.append(str(error))
        return False
    if (pixels == pixels[0, 0]).all():
        raise DataError(f"{image.frames[0]} has a single color, so no range can be measured on it; remove the file")
    return True


def _camera(image: Tracklet) -> str:
    return image.camera or "unknown"


def _name(image: Tracklet, root: Path) -> str:
    frame = image.frames[0]
    return frame.relative_to(root).as_posix() if isinstance(frame, Path) else image.id


def _digest(names: Iterable[str]) -> str:
    content = "".join(f"{name}\n" for name in sorted(names))
    return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()  # names of files need not be UTF-8
