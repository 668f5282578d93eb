"""Reader for VERI-Wild (Lou et al., CVPR 2019): a folder a vehicle, cameras in `vehicle_info.txt`, three test sets."""

from __future__ import annotations

import re
from pathlib import Path

from reid.data.dataset import Dataset, Problem, Split, TestSet
from reid.data.readers.lists import read_text
from reid.runtime.files.names import is_name
from reid.runtime.listing import Listing, joined
from reid.runtime.tracklet import Tracklet

__all__ = ["INFO", "LISTS_FOLDER", "TEST_LIST", "read"]

LISTS_FOLDER = "train_test_split"
INFO = "vehicle_info.txt"
TEST_LIST = re.compile(r"test_(\d{1,9})(?:_id)?(_query)?\.txt", re.ASCII)

_TRAIN = "train_list.txt"


def read(listing: Listing) -> Dataset:
    """Read a VERI-Wild folder as far as it can be read; whatever is wrong with it is listed in `problems`.

    The images may lie in `images/VEHICLE`, or deeper, as where the parts of the archive were unpacked one by one.
    """
    problems: list[Problem] = []
    on_disk = _images(listing)
    cameras = _read_cameras(listing, problems)
    train = _read_list(listing, joined(LISTS_FOLDER, _TRAIN), on_disk, cameras, problems)
    found = [match for name in listing.folder(LISTS_FOLDER).files if (match := TEST_LIST.fullmatch(name))]
    lists = {(int(match[1]), bool(match[2])): joined(LISTS_FOLDER, match[0]) for match in found}
    sets = []
    for size in sorted({size for size, _ in lists}):
        sides: list[tuple[Tracklet, ...]] = []
        for is_query in (True, False):
            if (size, is_query) not in lists:
                lacking = joined(LISTS_FOLDER, f"test_{size}{'_query' * is_query}.txt")
                problems.append(Problem("missing file", lacking))
                sides.append(())
                continue
            sides.append(_read_list(listing, lists[size, is_query], on_disk, cameras, problems))
        if all(sides):
            sets.append(TestSet(str(size), Split(sides[0], sides[0]), Split(sides[1], ())))
    for part, is_there in (("train", bool(train)), ("query", bool(sets))):
        if not is_there:
            problems.append(Problem("empty split", part, "its lists are missing or name no usable image"))
    return Dataset(
        layout="veriwild",
        root=listing.root,
        train=Split(train, ()),
        query=sets[0].query if sets else Split(),
        gallery=sets[0].gallery if sets else Split(),
        problems=tuple(dict.fromkeys(problems)),
        test_sets=tuple(sets),
        lists=(joined(LISTS_FOLDER, INFO), joined(LISTS_FOLDER, _TRAIN), *lists.values()),
    )


def _images(listing: Listing) -> dict[str, Path]:
    """Return VEHICLE/NUMBER -> file, wherever the vehicle's folder lies."""
    images = {}
    for folder in listing.contents:
        vehicle = folder.rpartition("/")[2]
        for name, path in listing.images(folder).items():
            images[f"{vehicle}/{name.rpartition('.')[0]}"] = path
    return images


def _read_cameras(listing: Listing, problems: list[Problem]) -> dict[str, str]:
    """Read the lines `id/image;Camera ID;Time;...`."""
    name = joined(LISTS_FOLDER, INFO)
    text = read_text(listing.path(name), problems)
    cameras = {}
    for line in filter(str.strip, (text or "").splitlines()):
        image, *rest = (cell.strip() for cell in line.split(";"))
        if not rest or not is_name(rest[0]) or not _is_image_name(image):
            problems.append(Problem("damaged list", name, f"{line[:60]!a} gives no image and camera; not used"))
        elif image != "id/image":
            cameras[_without_suffix(image)] = rest[0]
    return cameras


def _read_list(
    listing: Listing, name: str, on_disk: dict[str, Path], cameras: dict[str, str], problems: list[Problem]
) -> tuple[Tracklet, ...]:
    """Read the lines "VEHICLE/NUMBER" of a list."""
    text = read_text(listing.path(name), problems)
    images = {}
    for line in filter(None, map(str.strip, (text or "").splitlines())):
        entry = _without_suffix(line)
        if not _is_image_name(line):
            problems.append(Problem("damaged list", name, f"{line[:60]!a} is not VEHICLE/NUMBER; not used"))
        elif entry in images:
            problems.append(Problem("duplicate", name, f"{entry} is listed twice"))
        elif entry not in on_disk:
            problems.append(Problem("missing file", f"images/{entry}.jpg", f"is in {name}"))
        else:
            if cameras and entry not in cameras:
                problems.append(Problem("not in label file", f"images/{entry}.jpg", f"{INFO} gives no camera of it"))
            images[entry] = Tracklet(entry, (on_disk[entry],), cameras.get(entry), entry.partition("/")[0])
    return tuple(images.values())


def _is_image_name(text: str) -> bool:
    parts = text.split("/")
    return len(parts) == 2 and all(map(is_name, parts))


def _without_suffix(name: str) -> str:
    return name.rpartition(".")[0] if name.lower().endswith((".jpg", ".jpeg", ".png")) else name
