"""Recognize the layout of a data set, read it, and account for everything in its folder."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from reid.data.dataset import Dataset, Problem
from reid.data.place import VERI_FOLDERS, VERI_LISTS, find_root, note_of_surroundings
from reid.data.plausibility import implausible
from reid.data.readers import cityflow, table, vehicleid, veri, veriwild
from reid.data.readers.lists import LIST_AT_MOST
from reid.data.readers.trees import find_tree_shape, read_tree
from reid.data.shape import Shape
from reid.runtime.errors import DataError
from reid.runtime.file_names import JUNK
from reid.runtime.files.reading import read_file
from reid.runtime.imaging import IMAGE_SUFFIXES
from reid.runtime.left_out import NOT_NEEDED, left_out
from reid.runtime.listing import Listing, list_tree

__all__ = ["READERS", "open_dataset", "read_dataset", "recognize"]

Reader: TypeAlias = Callable[[Listing], Dataset]

READERS: dict[str, Reader] = {
    "veri": veri.read,
    "cityflow": cityflow.read,
    "vehicleid": vehicleid.read,
    "veriwild": veriwild.read,
    "tracklets": partial(read_tree, how="tracklets"),
    "vehicle-folders": partial(read_tree, how="vehicle-folders"),
    "camera-vehicle": partial(read_tree, how="camera-vehicle"),
    "flat": partial(read_tree, how="flat"),
    "table": table.read,
}

_COMPANIONS = {"veri": veri.COMPANIONS, "vehicleid": vehicleid.COMPANIONS}

_SUFFIX = rb"(?:%s)\b" % b"|".join(re.escape(suffix.encode()) for suffix in sorted(IMAGE_SUFFIXES, reverse=True))
_NAME = re.compile(rb"[\w-]" + _SUFFIX, re.IGNORECASE)
_NUMBER = re.compile(rb"(?<![\w.-])\d+" + _SUFFIX, re.IGNORECASE)


def read_dataset(folder: str | os.PathLike[str], layout: str | None = None) -> Dataset:
    """Read the lists of a data set, without opening its images; whatever is wrong with them is in its `problems`.

    Args:
        folder: the data set's folder, or an archive of it (.zip or .tar). Where it holds the data set's folder and no
            other, that one is read, and `notes` says so.
        layout: a name from READERS; None to recognize the layout.

    Raises:
        DataError: the folder does not exist, cannot be read or does not look like a data set; or the layout is unknown.
    """
    if layout is not None and layout not in READERS:
        raise DataError(f"unknown layout {layout!r}; choose one of: {', '.join(READERS)}")
    notes: list[str] = []
    if own_table := _own_table(Path(folder), layout):
        listing = list_tree(Path(folder).parent)
        dataset = table.read(listing, own_table)
    else:
        listing, notes = find_root(list_tree(Path(folder)))
        if layout is None:
            notes += note_of_surroundings(listing.root)
        found = layout or _recognized(listing)
        dataset = read_tree(listing, found) if isinstance(found, Shape) else READERS[found](listing)
    unreadable = (Problem("unreadable folder", name, reason) for name, reason in listing.unreadable.items())
    problems = (*unreadable, *dataset.problems, *implausible(dataset))
    dataset = replace(dataset, problems=problems, notes=(*notes, *dataset.notes), layout_was_given=layout is not None)
    return _accounted_for(dataset, listing)


def open_dataset(root: Path, layout: str | None = None, *, needs: Literal["train", "query"]) -> Dataset:
    """Read a data set that must have usable images in the given split.

    Raises:
        DataError: see read_dataset; or the split that is needed holds no usable image, or what was recognized is
            implausible, so that scores would be wrong. A layout that was chosen is taken for what it is.
    """
    dataset = read_dataset(root, layout)
    doubts = [problem for problem in dataset.problems if problem.kind == "implausible"]
    if doubts and layout is None:
        raise DataError(f"{dataset.root}: {doubts[0].detail}")
    split = dataset.train if needs == "train" else dataset.query
    if not split.images:
        raise DataError(
            f"{dataset.root}: no usable {needs} images in layout {dataset.layout}; `{dataset.inspect_command}` says why"
        )
    return dataset


def _own_table(path: Path, layout: str | None) -> str | None:
    """Return the name of the table whose own path was given instead of its folder's."""
    if not table.is_table_file(path):
        return None
    if layout not in (None, "table"):
        raise DataError(f"{path} is a table, not a folder in layout {layout}; leave --layout out")
    return path.name


def recognize(folder: str | os.PathLike[str]) -> str:
    """Return the name of a data set's layout.

    Raises:
        DataError: the folder cannot be read, or has none of the known layouts.
    """
    if _own_table(Path(folder), None):
        return "table"
    found = _recognized(find_root(list_tree(Path(folder)))[0])
    return found.layout if isinstance(found, Shape) else found


def _recognized(listing: Listing) -> str | Shape:
    """Return the layout of a data set with lists, or the shape of a tree without any."""
    lists = listing.folder(vehicleid.LISTS_FOLDER).files
    if veriwild.INFO in lists or any(veriwild.TEST_LIST.fullmatch(name) for name in lists):
        return "veriwild"
    if vehicleid.TRAIN_LIST in lists or any(vehicleid.TEST_LIST.fullmatch(name) for name in lists):
        return "vehicleid"
    if not _any_of(listing, VERI_LISTS) and table.find_table(listing):
        return "table"
    if _any_of(listing, VERI_LISTS) or any(listing.images(name) for name in VERI_FOLDERS):
        return _cityflow_or_veri(listing)
    try:
        return find_tree_shape(listing)
    except DataError as error:
        raise DataError(f"{error}; docs/data-sets.md shows the layouts that --layout names") from None


def _any_of(listing: Listing, names: Iterable[str]) -> bool:
    return not set(listing.folder("").files).isdisjoint(names)


def _cityflow_or_veri(listing: Listing) -> str:
    """Tell CityFlow-ReID, whose images are numbered, from VeRi-776 by the majority of names in folders and lists."""
    images = [path for name in VERI_FOLDERS for path in listing.images(name).values()]
    named, numbered = len(images), sum(path.stem.isdecimal() for path in images)
    for name in VERI_LISTS:
        with contextlib.suppress(OSError):
            content = read_file(listing.path(name), at_most=LIST_AT_MOST)
            named += sum(1 for _ in _NAME.finditer(content))
            numbered += sum(1 for _ in _NUMBER.finditer(content))
    if named:
        return "cityflow" if 2 * numbered > named else "veri"
    return "cityflow" if _any_of(listing, ("train_track.txt", "query_label.xml")) else "veri"


def _accounted_for(dataset: Dataset, listing: Listing) -> Dataset:
    """Add to a data set what is in its folder and not used."""
    used = {str(listing.path(name)) for name in dataset.lists}
    splits = [dataset.train, dataset.query, dataset.gallery]
    splits += [split for one in dataset.test_sets for split in (one.query, one.gallery)]
    entries = [entry for split in splits for entry in (*split.images, *split.tracklets)]
    if dataset.challenge:
        entries += [*dataset.challenge.query, *dataset.challenge.gallery]
    used |= {str(frame) for entry in entries for frame in entry.frames if isinstance(frame, Path)}
    names = list(listing.files())
    reasons = {name: "junk" for name in names if name.rpartition("/")[2].startswith(f"{JUNK}_")}
    reasons |= dict.fromkeys(_COMPANIONS.get(dataset.layout, ()), NOT_NEEDED)
    rest = left_out(listing, used, reasons | _reasons(dataset.problems), otherwise="in no split")
    return replace(dataset, left_out=rest, files=len(names))


def _reasons(problems: Iterable[Problem]) -> dict[str, str]:
    return {problem.where: problem.kind for problem in problems if problem.kind != "duplicate"}
