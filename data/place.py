"""Whether a folder is a data set's, or lies one level too high or too low."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from reid.data.readers import cityflow, vehicleid, veri
from reid.data.readers.table import has_table
from reid.data.readers.trees import SPLIT_FOLDERS
from reid.runtime.errors import DataError
from reid.runtime.listing import Listing

__all__ = ["VERI_FOLDERS", "VERI_LISTS", "find_root", "note_of_surroundings"]

VERI_LISTS = frozenset((*veri.LISTS, *cityflow.LISTS))
"""The lists of VeRi-776 and CityFlow-ReID."""

VERI_FOLDERS = ("image_train", "image_query", "image_test")
"""The image folders of VeRi-776 and CityFlow-ReID."""

_VEHICLEID_FOLDERS = ("image", "images")
"""Those of VehicleID and VERI-Wild."""

_DEEPEST = 3
"""How many folders above the data set's may be given."""


def find_root(listing: Listing) -> tuple[Listing, list[str]]:
    """Return the listing of the data set that a folder holds, and what people should know of the choice.

    Raises:
        DataError: the folder is none of a data set and holds several.
    """
    if _is_root(listing, ""):
        return listing, []
    found: list[str] = []
    for name in listing.contents:
        is_within = any(name.startswith(f"{outer}/") for outer in found)
        if name and not is_within and name.count("/") < _DEEPEST and _is_root(listing, name):
            found.append(name)
    if len(found) > 1:
        these = ", ".join(found[:4])
        raise DataError(f"{listing.root} holds {len(found)} data sets ({these}); give one of them")
    if not found:
        return listing, []
    inner = listing.below(found[0])
    return inner, [f"{listing.root} holds the data set {inner.root}, which is used"]


def _is_root(listing: Listing, folder: str) -> bool:
    """Return whether a folder has what only a data set's own has: its lists, or the folders of its splits."""
    inside = listing.folder(folder)
    folders = set(inside.folders)
    if not VERI_LISTS.isdisjoint(inside.files) or vehicleid.LISTS_FOLDER in folders or has_table(listing, folder):
        return True
    splits = [part for part, names in SPLIT_FOLDERS.items() if not folders.isdisjoint(names)]
    is_split = len(splits) > 1 or (len(splits) == 1 and folders <= {*itertools.chain(*SPLIT_FOLDERS.values())})
    start = f"{folder}/" if folder else ""
    return is_split and any(name.startswith(start) and listing.images(name) for name in listing.contents)


def note_of_surroundings(root: Path) -> list[str]:
    """Say it where a folder is a part of a data set, of which it has no lists.

    Raises:
        DataError: without the lists the folder cannot be read rightly.
    """
    parent = root.absolute().parent
    if root.name in _VEHICLEID_FOLDERS and os.path.isdir(parent / vehicleid.LISTS_FOLDER):
        raise DataError(f"{root} is the part of a data set that its lists label: give {root.parent}")
    if root.name in VERI_FOLDERS and any(os.path.lexists(parent / name) for name in VERI_LISTS):
        return [f"{root} is a part of the data set {root.parent}, read on its own: without its lists"]
    splits = set(itertools.chain(*SPLIT_FOLDERS.values()))
    if root.name in splits and any(os.path.isdir(parent / other) for other in splits - {root.name}):
        return [f"{root} is one of the splits of the data set {root.parent}, read on its own"]
    return []
