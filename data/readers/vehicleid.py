"""Reader for PKU VehicleID (Liu et al., CVPR 2016): numbered images, and lists of "NUMBER VEHICLE" without cameras.

Its protocol ranks one random image of each vehicle for every other image of it; the draw is repeated ten times.
"""

from __future__ import annotations

import re
from pathlib import Path

from reid.data.dataset import Dataset, Problem, Split, TestSet
from reid.data.draws import draw_gallery
from reid.data.readers.lists import read_text
from reid.runtime.files.names import is_name
from reid.runtime.listing import Listing, joined
from reid.runtime.tracklet import Tracklet

__all__ = ["COMPANIONS", "LISTS_FOLDER", "TEST_LIST", "TRAIN_LIST", "read"]

LISTS_FOLDER = "train_test_split"
TRAIN_LIST = "train_list.txt"
TEST_LIST = re.compile(r"test_list_(\d{1,9})\.txt", re.ASCII)

COMPANIONS = ("attribute", "attribute/color_attr.txt", "attribute/img2vid.txt", "attribute/model_attr.txt")
"""Other files of the data set, which nothing here needs."""

_IMAGES = "image"
_DRAWS = 10


def read(listing: Listing) -> Dataset:
    """Read a VehicleID folder as far as it can be read; whatever is wrong with it is listed in `problems`."""
    problems: list[Problem] = []
    on_disk = {Path(name).stem: path for name, path in listing.images(_IMAGES).items()}
    train_list = joined(LISTS_FOLDER, TRAIN_LIST)
    train = _read_list(listing, train_list, on_disk, problems)
    if not train:
        problems.append(Problem("empty split", "train", f"{train_list} is missing or names no usable image"))
    sizes = sorted(int(match[1]) for name in listing.folder(LISTS_FOLDER).files if (match := TEST_LIST.fullmatch(name)))
    names = {str(size): joined(LISTS_FOLDER, f"test_list_{size}.txt") for size in sizes}
    sets = []
    for size, name in names.items():
        if images := _read_list(listing, name, on_disk, problems):
            everything = Split(images, ())
            sets.append(TestSet(size, Split(images, images), everything, draws=_DRAWS))
    if not sets:
        problems.append(Problem("empty split", "query", f"{LISTS_FOLDER} holds no test_list_*.txt that names images"))
    query, gallery = draw_gallery(sets[0], 0) if sets else (Split(), Split())
    return Dataset(
        layout="vehicleid",
        root=listing.root,
        train=Split(train, ()),
        query=query,
        gallery=gallery,
        problems=tuple(problems),
        test_sets=tuple(sets),
        lists=(train_list, *names.values()),
    )


def _read_list(listing: Listing, name: str, on_disk: dict[str, Path], problems: list[Problem]) -> tuple[Tracklet, ...]:
    """Read the lines "NUMBER VEHICLE" of a list."""
    text = read_text(listing.path(name), problems)
    images = {}
    for line in filter(str.strip, (text or "").splitlines()):
        words = line.split()
        if len(words) != 2 or not all(map(is_name, words)):
            problems.append(Problem("damaged list", name, f"{line[:60]!a} is not a number and a vehicle; not used"))
            continue
        number, vehicle = Path(words[0]).stem, words[1]
        if number in images:
            problems.append(Problem("duplicate", name, f"{number} is listed twice"))
        elif number not in on_disk:
            problems.append(Problem("missing file", f"{_IMAGES}/{number}.jpg", f"is in {name}"))
        else:
            images[number] = Tracklet(number, (on_disk[number],), None, vehicle)
    return tuple(images.values())
