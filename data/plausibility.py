"""Whether what was read can be a data set of vehicles seen by cameras: else scores would be wrong without a word."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from reid.data.dataset import Dataset, Problem
from reid.data.shape import MOST
from reid.runtime.errors import DataError
from reid.runtime.file_names import parse_name
from reid.runtime.image_headers.reading import read_header
from reid.runtime.imaging import read_image
from reid.runtime.labels import has_digit, is_camera_name, plain_label

__all__ = ["implausible"]

_FEW = 4
"""With fewer vehicles than this, nothing is implausible."""

_SAMPLE = 9
"""How many images are opened to see whether they are crops."""

_FRAME = 640 * 480
"""Images that are all of one size, and no smaller than this, are a camera's frames."""

_PHOTO = 2_000_000
"""Most crops of vehicles have fewer pixels than this, by far."""

_CAMERA_IN_NAME = re.compile(r"(?<![a-z])(?:c|cam|camera)[-_ ]?(\d+)", re.ASCII | re.IGNORECASE)

_LISTED = frozenset({"veri", "cityflow", "vehicleid", "veriwild", "table"})
"""Layouts in which lists tell the vehicles, whatever these are named."""

_KNOWN = {
    "veri": 776,
    "veri776": 776,
    "vehicleid": 26_328,
    "vehicleidv10": 26_328,
    "veriwild": 40_671,
    "market1501": 1_503,
    "dukemtmcreid": 1_812,
    "cityflow": 880,
    "cityflowreid": 880,
}
"""Published number of vehicles (or people) by a data set's name, in small letters without signs."""


@dataclass(slots=True)
class _Read:
    """What was understood.

    Attributes:
        vehicles: vehicle -> the cameras that see it.
        cameras: camera -> the vehicles that it sees.
        files: the image files, each once.
    """

    vehicles: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    cameras: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    files: list[Path] = field(default_factory=list)


def implausible(dataset: Dataset) -> Iterator[Problem]:
    """Find what cannot be: each problem's detail says in a line what was understood, and what may be meant."""
    read = _Read()
    splits = (dataset.train, dataset.query, dataset.gallery)
    # Held-out queries are in the gallery, too.
    images = {id(image): image for split in splits for image in split.images}
    for image in images.values():
        read.files += [frame for frame in image.frames if isinstance(frame, Path)]
        if image.vehicle is not None:
            seen = read.vehicles[image.vehicle]
            if image.camera is not None:
                seen.add(image.camera)
                read.cameras[image.camera].add(image.vehicle)
    for detail in _doubts(dataset, read):
        yield Problem("implausible", ".", detail)


def _doubts(dataset: Dataset, read: _Read) -> Iterator[str]:
    vehicles, cameras = read.vehicles, read.cameras
    understood = f"{len(vehicles):,} vehicles, {len(cameras) or 'no'} cameras: read as {dataset.layout}, but"
    confirm = f"if it is right, confirm it with --layout {dataset.layout}"
    disagreeing = {problem.where for problem in dataset.problems if "disagree" in problem.kind}
    if len(disagreeing) > (1 - MOST) * len(read.files):
        yield (
            f"labels disagree in {len(disagreeing):,} of {len(read.files):,} images ({_first_disagreement(dataset)}); "
            f"correct them, or confirm what is used with --layout {dataset.layout}"
        )
    most = _KNOWN.get("".join(filter(str.isalnum, dataset.root.name.lower())))
    if most is not None and len(vehicles) > most:
        yield f"{understood} {dataset.root.name} has {most:,} vehicles; {confirm}"
    for what, names in (("vehicles", vehicles), ("cameras", cameras)):
        if alike := _alike(names):
            yield f"{understood} {what} {alike[0]} and {alike[1]} may be the same; name them alike; {confirm}"
    if len(vehicles) < _FEW:
        return
    if doubt := _swapped(vehicles, cameras):
        yield f"{understood} {doubt}; {_other_reading(dataset.layout)}{confirm}"
    elif len(cameras) > 1 and sum(len(seen) < 2 for seen in vehicles.values()) >= MOST * len(vehicles):
        doubt = "hardly a vehicle is seen by two cameras, as if each track were numbered like a vehicle"
        yield f"{understood} {doubt}; {_label_them(dataset.layout)}{confirm}"
    elif not cameras and dataset.layout not in _LISTED and (doubt := _doubtful_vehicles(vehicles, read.files)):
        yield f"{understood} {doubt}; {_label_them(dataset.layout)}{confirm}"
    elif dataset.layout in ("vehicle-folders", "camera-vehicle", "tracklets") and (doubt := _no_crops(read.files)):
        yield f"{understood} {doubt}; cut the vehicles out, or, {confirm}"


def _label_them(layout: str) -> str:
    return "" if layout in _LISTED else "--layout table labels them; "


def _swapped(vehicles: Mapping[str, set[str]], cameras: Mapping[str, set[str]]) -> str | None:
    """Return why what was taken for vehicles and cameras cannot be these."""
    if all(map(is_camera_name, vehicles)):
        return f"the vehicles are named like cameras ({min(vehicles)})"
    if len(cameras) > len(vehicles):
        return "cameras see many vehicles each"
    alone = sum(len(seen) == 1 for seen in cameras.values())
    return f"{alone:,} of the cameras see one vehicle only" if 2 * alone > len(cameras) > 1 else None


def _doubtful_vehicles(vehicles: Iterable[str], files: Sequence[Path]) -> str | None:
    names = list(vehicles)
    if not any(map(has_digit, names)):
        return f"they are named like places or types ({min(names)}), not like single vehicles"
    found = [match for path in files if (match := _CAMERA_IN_NAME.search(path.name))]
    seen = {match[1] for match in found}
    if 2 * len(found) > len(files) and 1 < len(seen) <= len(names):
        return f"the file names seem to tell {len(seen)} cameras ({found[0].string})"
    return None


def _no_crops(files: Sequence[Path]) -> str | None:
    """Look at a few images: whole frames and photos are no crops. File names that tell labels are those of crops."""
    if parse_name(files[0].name):
        return None
    sizes = []
    for path in files[:: max(1, len(files) // _SAMPLE)][:_SAMPLE]:
        try:
            header = read_header(read_image(path))
        except (DataError, ValueError):  # it will be named when it is needed
            continue
        sizes.append((header.width, header.height))
    if not sizes:
        return None
    areas = [width * height for width, height in sizes]
    if median(areas) < _PHOTO and not (len(set(sizes)) == 1 < len(sizes) and areas[0] >= _FRAME):
        return None
    return "the images are {} x {}: whole frames or photos, not crops of vehicles".format(*sizes[0])


def _alike(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two names that mean the same."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(plain_label(name), name)
        if other != name:
            return other, name
    return None


def _other_reading(layout: str) -> str:
    if layout == "tracklets":
        return "did you mean CAMERA/VEHICLE? --layout camera-vehicle; "
    if layout == "camera-vehicle":
        return "did you mean VEHICLE/CAMERA_TRACK? --layout tracklets; "
    return ""


def _first_disagreement(dataset: Dataset) -> str:
    first = next(problem for problem in dataset.problems if "disagree" in problem.kind)
    return f"{first.where}: {first.detail}"
