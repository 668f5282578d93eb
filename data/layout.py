"""Recognize the layout of a data set, and read it."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from reid.data.dataset import Dataset
from reid.data.readers import cityflow, folders, veri
from reid.runtime.errors import DataError
from reid.runtime.file_names import parse_name
from reid.runtime.imaging import is_image

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
_IMAGE_NAME = re.compile(rb"([\w.-]+)\.(?:jpe?g|png|bmp|webp)\b", re.IGNORECASE)


def read_dataset(folder: str | os.PathLike[str], layout: str | None = None) -> Dataset:
    """Read the lists of a data set, without opening its images; whatever is wrong with them is in its `problems`.

    Args:
        folder: the data set's folder.
        layout: a name from READERS; None to recognize the layout.

    Raises:
        DataError: the folder does not exist, the layout is unknown, or the folder does not look like a data set.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder" if root.exists() else f"{root}: no such folder")
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
    """Return the name of a folder's layout. Raises DataError if it has none of the known layouts."""
    if any((root / name).exists() for name in _LISTS) or any((root / name).is_dir() for name in _IMAGE_FOLDERS):
        return _cityflow_or_veri(root)
    split_folders = [root / name for names in folders.SPLIT_FOLDERS.values() for name in names]
    bases = [folder for folder in split_folders if folder.is_dir()] or [root]
    loose = [path for base in bases for path in base.iterdir() if is_image(path)]
    if any(parse_name(path.name) for path in loose):
        return "flat"
    if any(is_image(path) for base in bases for path in base.glob("*/*/*")):
        return "tracklets"
    if loose:
        return "flat"
    raise DataError(f"{root}: not a VeRi-776, CityFlow-ReID, tracklet or flat data set; choose a layout with --layout")


def _cityflow_or_veri(root: Path) -> str:
    """Tell CityFlow-ReID, whose images are numbered, from VeRi-776 by the majority of names in folders and lists."""
    numbered = Counter(stem.isdigit() for stem in _image_stems(root))
    if numbered:
        return "cityflow" if numbered[True] > numbered[False] else "veri"
    return "cityflow" if any((root / name).exists() for name in ("train_track.txt", "query_label.xml")) else "veri"


def _image_stems(root: Path) -> Iterator[bytes]:
    for folder in (root / name for name in _IMAGE_FOLDERS):
        if folder.is_dir():
            yield from (os.fsencode(path.stem) for path in folder.iterdir() if is_image(path))
    for path in (root / name for name in _LISTS):
        with contextlib.suppress(OSError):
            yield from _IMAGE_NAME.findall(path.read_bytes())
