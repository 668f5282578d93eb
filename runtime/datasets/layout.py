"""Recognising a data set's layout and opening it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from reid.runtime.datasets import cityflow, folders, veri
from reid.runtime.datasets.dataset import Dataset
from reid.runtime.errors import DataError
from reid.runtime.imaging import is_image

__all__ = ["READERS", "open_dataset", "read_dataset", "recognise"]

Reader: TypeAlias = Callable[[Path], Dataset]

READERS: dict[str, Reader] = {
    "veri": veri.read,
    "cityflow": cityflow.read,
    "tracklets": folders.read_tracklets,
    "flat": folders.read_flat,
}

_NUMBERED = re.compile(r"\d+\.\w+")
_LISTS = (
    "train_label.xml",
    "test_label.xml",
    "query_label.xml",
    "train_track.txt",
    "test_track.txt",
    "name_train.txt",
)


def read_dataset(root: Path, layout: str | None = None) -> Dataset:
    """Read the lists of a data set, without opening its images; what is wrong with it is in its `problems`.

    Args:
        root: the data set's folder.
        layout: one of READERS; None to recognise it.

    Raises:
        DataError: no such folder, or nothing in it that looks like a data set.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder" if root.exists() else f"{root}: no such folder")
    if layout is not None and layout not in READERS:
        raise DataError(f"no layout {layout!r}; there are {', '.join(READERS)}")
    return READERS[layout or recognise(root)](root)


def open_dataset(root: Path, layout: str | None = None, *, needs: Literal["train", "query"]) -> Dataset:
    """Read a data set that something is to be done with.

    Raises:
        DataError: as read_dataset, or the split that is needed holds no usable image.
    """
    dataset = read_dataset(root, layout)
    split = dataset.train if needs == "train" else dataset.query
    if not split.images:
        raise DataError(
            f"{root}: no usable {needs} images in layout {dataset.layout}; `reid-data inspect {root}` says why"
        )
    return dataset


def recognise(root: Path) -> str:
    """Tell which layout a folder has. Raises DataError where it is none that we know."""
    if any((root / name).exists() for name in _LISTS) or (root / "image_train").is_dir():
        numbered = any(_NUMBERED.fullmatch(name) for name in itertools.islice(_image_names(root), 20))
        return "cityflow" if numbered or (root / "train_track.txt").exists() else "veri"
    split_folders = [root / name for names in folders.SPLIT_FOLDERS.values() for name in names]
    bases = [folder for folder in split_folders if folder.is_dir()] or [root]
    if any(is_image(path) for base in bases for path in base.iterdir()):
        return "flat"
    if any(is_image(path) for base in bases for path in base.glob("*/*/*")):
        return "tracklets"
    raise DataError(f"{root}: not a VeRi-776, CityFlow-ReID, tracklet or flat data set; --layout names one")


def _image_names(root: Path) -> Iterator[str]:
    for part in ("train", "test", "query"):
        folder = root / f"image_{part}"
        if folder.is_dir():
            yield from (path.name for path in folder.iterdir() if is_image(path))
