"""Recognize the layout of a data set, and read it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from reid.data.dataset import Dataset
from reid.data.readers import cityflow, folders, veri
from reid.data.readers.contents import read_contents
from reid.data.readers.lists import LIST_AT_MOST
from reid.runtime.errors import DataError
from reid.runtime.file_names import parse_name
from reid.runtime.files.reading import read_file
from reid.runtime.folders import Contents, check_folder, list_folder

__all__ = ["READERS", "open_dataset", "read_dataset", "recognize"]

Reader: TypeAlias = Callable[[Path], Dataset]

READERS: dict[str, Reader] = {
    "veri": veri.read,
    "cityflow": cityflow.read,
    "tracklets": folders.read_tracklets,
    "flat": folders.read_flat,
}

_LISTS = (
    "train_label.xml",
    "test_label.xml",
    "query_label.xml",
    "train_track.txt",
    "test_track.txt",
    "name_train.txt",
    "name_query.txt",
    "name_test.txt",
)
_IMAGE_FOLDERS = ("image_train", "image_query", "image_test")

_SUFFIX = rb"\.(?:jpe?g|png|bmp|webp)\b"
_NAME = re.compile(rb"[\w-]" + _SUFFIX, re.IGNORECASE)
_NUMBER = re.compile(rb"(?<![\w.-])\d+" + _SUFFIX, re.IGNORECASE)

_MOST_TRACKS = 100_000
"""The most folders in which a tracklet is looked for, so that a folder of something else is refused in seconds."""


def read_dataset(folder: str | os.PathLike[str], layout: str | None = None) -> Dataset:
    """Read the lists of a data set, without opening its images; whatever is wrong with them is in its `problems`.

    Args:
        folder: the data set's folder.
        layout: a name from READERS; None to recognize the layout.

    Raises:
        DataError: the folder does not exist, cannot be read or does not look like a data set; or the layout is unknown.
    """
    root = Path(folder)
    check_folder(root)
    if layout is not None and layout not in READERS:
        raise DataError(f"unknown layout {layout!r}; choose one of: {', '.join(READERS)}")
    return READERS[layout or recognize(root)](root)


def open_dataset(root: Path, layout: str | None = None, *, needs: Literal["train", "query"]) -> Dataset:
    """Read a data set that must have usable images in the given split.

    Raises:
        DataError: see read_dataset; or the split that is needed holds no usable image.
    """
    dataset = read_dataset(root, layout)
    split = dataset.train if needs == "train" else dataset.query
    if not split.images:
        chosen = f" --layout {layout}" if layout else ""
        raise DataError(
            f"{root}: no usable {needs} images in layout {dataset.layout}; `reid-data inspect {root}{chosen}` says why"
        )
    return dataset


def recognize(root: Path) -> str:
    """Return the name of a folder's layout.

    Raises:
        DataError: the folder has none of the known layouts, or cannot be read.
    """
    if _any_exists(root, _LISTS) or any(os.path.isdir(root / name) for name in _IMAGE_FOLDERS):
        return _cityflow_or_veri(root)
    split_folders = [root / name for names in folders.SPLIT_FOLDERS.values() for name in names]
    bases = [folder for folder in split_folders if os.path.isdir(folder)] or [root]
    loose = [path for base in bases for path in list_folder(base).images]
    if any(parse_name(path.name) for path in loose):
        return "flat"
    tracks = (track for base in bases for track in _third_level(base))
    if any(track.images for track in islice(tracks, _MOST_TRACKS)):
        return "tracklets"
    if loose:
        return "flat"
    raise DataError(f"{root}: not a VeRi-776, CityFlow-ReID, tracklet or flat data set; choose a layout with --layout")


def _third_level(base: Path) -> Iterator[Contents]:
    for vehicle in read_contents(base, base, []).folders:
        for track in read_contents(vehicle, base, []).folders:
            yield read_contents(track, base, [])


def _any_exists(root: Path, names: Iterable[str]) -> bool:
    return any(os.path.lexists(root / name) for name in names)


def _cityflow_or_veri(root: Path) -> str:
    """Tell CityFlow-ReID, whose images are numbered, from VeRi-776 by the majority of names in folders and lists."""
    images = [path for name in _IMAGE_FOLDERS for path in read_contents(root / name, root, []).images]
    named, numbered = len(images), sum(path.stem.isdecimal() for path in images)
    for name in _LISTS:
        with contextlib.suppress(OSError):
            content = read_file(root / name, at_most=LIST_AT_MOST)
            named += sum(1 for _ in _NAME.finditer(content))
            numbered += sum(1 for _ in _NUMBER.finditer(content))
    if named:
        return "cityflow" if 2 * numbered > named else "veri"
    return "cityflow" if _any_exists(root, ("train_track.txt", "query_label.xml")) else "veri"
