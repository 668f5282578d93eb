"""What the folders of a data set without lists stand for, found out by their names and by which recur where."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from reid.runtime.errors import DataError
from reid.runtime.file_names import JUNK, ImageName, parse_name, parse_name_without_camera
from reid.runtime.labels import (
    camera_of_track,
    has_digit,
    is_camera_name,
    is_part_name,
    is_track_name,
    same_label,
    tells_no_vehicle,
)

__all__ = ["MOST", "ImagePlace", "Level", "Names", "Shape", "TreeLayout", "find_shape", "shape_of"]

Level: TypeAlias = Literal["vehicle", "camera", "camera_track", "track", "other"]
"""What a folder stands for; "other" is a folder that tells nothing, such as a part of an archive."""

Names: TypeAlias = Literal["labels", "vehicle", "nothing"]
"""What file names tell: vehicle and camera, the vehicle, or nothing."""

TreeLayout: TypeAlias = Literal["flat", "vehicle-folders", "tracklets", "camera-vehicle"]

MOST = 0.95
"""The share from which on the rest are exceptions: problems, but no reason to doubt."""

_NEEDED: Mapping[TreeLayout, tuple[Level, ...]] = {
    "flat": (),
    "vehicle-folders": ("vehicle",),
    "tracklets": ("vehicle", "camera_track"),
    "camera-vehicle": ("camera", "vehicle"),
}
"""The levels that a layout has at least."""

_SAMPLE = 20_000
"""How many images are looked at, evenly spread; the folders are all looked at."""

_MOST_TRACKS = 100
"""How many tracks a vehicle has at most."""

_SOME = 0.5
_FEW = 0.1


class ImagePlace(NamedTuple):
    """Where an image lies: the names of the folders around it, from the outside in, and its file name."""

    folders: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Shape:
    """How a tree of images is read.

    Attributes:
        layout: the name of the layout.
        levels: what the folders stand for, from the outside in.
        names: what the file names tell.
    """

    layout: TreeLayout
    levels: tuple[Level, ...]
    names: Names

    @property
    def has_tracks(self) -> bool:
        """Whether each innermost folder is a tracklet."""
        return self.layout in ("tracklets", "camera-vehicle")

    @property
    def is_told(self) -> bool:
        """Whether names say what everything is, so that nothing had to be concluded from what recurs where."""
        return self.names == "labels" or "camera_track" in self.levels

    def __str__(self) -> str:
        """Return the shape as a path: VEHICLE/CAMERA_TRACK/IMAGE."""
        image = {"labels": "VEHICLE_CAMERA_TIME", "vehicle": "VEHICLE_NUMBER", "nothing": "IMAGE"}[self.names]
        return "/".join([*("*" if level == "other" else level.upper() for level in self.levels), image])


def find_shape(images: Sequence[ImagePlace]) -> Shape:
    """Find out how a tree of images is to be read.

    Args:
        images: the images of all splits, at least one.

    Raises:
        DataError: it cannot be told; the message says what there is and which layouts are possible.
    """
    shape = _found(images)
    _refuse_several_data_sets(_usual(images), shape)
    return shape


def shape_of(layout: TreeLayout, images: Sequence[ImagePlace]) -> Shape:
    """Return the shape of a layout that was chosen: that which is found if it has this layout."""
    if not images:
        return Shape(layout, (), "nothing")
    try:
        found = _found(images)
    except DataError:
        found = None
    if found and found.layout == layout:
        return found
    names, usual = _what_names_tell(images), _usual(images)
    tree = _Tree({image.folders for image in usual})
    needed = _NEEDED[layout]
    if tree.depth < len(needed):
        return Shape(layout, needed, names)
    if layout == "flat":
        return tree.shape("flat", dict.fromkeys(tree.cameras, "camera"), names)
    if names == "vehicle":  # a layout of folders was chosen
        names = "nothing"
    if layout == "vehicle-folders":
        return tree.shape(layout, {tree.depth - 1: "vehicle"}, names)
    first, second = tree.told[:2] if len(tree.told) > 1 else (tree.depth - 2, tree.depth - 1)
    if layout == "camera-vehicle":
        return tree.shape(layout, {first: "camera", second: "vehicle"}, names)
    if tree.cameras and tree.cameras[0] > 0:
        first, second = tree.cameras[0] - 1, tree.cameras[0]
    return tree.shape(layout, {first: "vehicle", second: _level_within_vehicle(tree, first, second, names)}, names)


def _found(images: Sequence[ImagePlace]) -> Shape:
    names, usual = _what_names_tell(images), _usual(images)
    return _shape_beside_names(usual) if names == "labels" else _shape_of_folders(usual, names)


def _level_within_vehicle(tree: _Tree, vehicle: int, level: int, names: Names) -> Level:
    """Return what the folders within vehicles stand for, where these are known to be vehicles."""
    by_prefix = tree.pairs(vehicle, level, camera_of=camera_of_track)
    if level in tree.cameras or (names == "nothing" and _recur(by_prefix)):
        return "camera_track"
    is_place = names == "nothing" and _are_words(tree.names(level)) and _recur(tree.pairs(vehicle, level))
    return "camera" if is_place else "track"


def _usual(images: Sequence[ImagePlace]) -> list[ImagePlace]:
    """Return the images at the depth of most; of two depths of equally many, at the larger."""
    depths = Counter(len(image.folders) for image in images)
    depth = max(depths, key=lambda depth: (depths[depth], depth))
    return [image for image in images if len(image.folders) == depth]


def _what_names_tell(images: Sequence[ImagePlace]) -> Names:
    """Return what most file names tell."""
    images = _sample(images)
    labeled = sum(parse_name(image.name) is not None for image in images)
    if labeled > _SOME * len(images):
        return "labels"
    with_vehicle = sum(parse_name_without_camera(image.name) is not None for image in images)
    return "vehicle" if with_vehicle >= MOST * len(images) else "nothing"


def _sample(images: Sequence[ImagePlace]) -> Sequence[ImagePlace]:
    return images[:: 1 + len(images) // _SAMPLE]


class _Tree:
    """The folders of a tree, level by level.

    Attributes:
        folders: the distinct folders, all equally deep.
        depth: the number of levels.
        told: the levels that tell something: neither parts and dates nor one folder that holds everything.
        cameras: those of them in which most are named like cameras, or like the tracks of cameras.
    """

    def __init__(self, folders: Collection[tuple[str, ...]]) -> None:
        self.folders = folders
        self.depth = len(next(iter(folders)))
        self.told = [level for level in range(self.depth) if not self.are(level, tells_no_vehicle)]
        while len(self.told) > 1 and len(self.names(self.told[0])) == 1 and not self._holds_all(self.told):
            del self.told[0]
        self.cameras = [level for level in self.told if self.are(level, _is_of_camera)]

    def names(self, level: int) -> set[str]:
        return {folder[level] for folder in self.folders}

    def are(self, level: int, what: Callable[[str], bool]) -> bool:
        """Return whether most of a level's names are of a kind."""
        names = self.names(level)
        return sum(map(what, names)) >= MOST * len(names)

    def pairs(
        self, vehicle: int, camera: int, camera_of: Callable[[str], str | None] = lambda name: name
    ) -> set[tuple[str, str]]:
        """Return which camera sees which vehicle, if two levels stand for these."""
        return {(folder[vehicle], name) for folder in self.folders if (name := camera_of(folder[camera]))}

    def runs(self, outer: int, inner: int) -> bool:
        """Return whether a level counts from one number on in each folder of another, as the tracks of vehicles do."""
        numbers: Mapping[str, set[str]] = defaultdict(set)
        for folder in self.folders:
            numbers[folder[outer]].add(folder[inner])
        if len(self.folders) > _MOST_TRACKS * len(numbers) or not all(map(str.isdecimal, self.names(inner))):
            return False
        counted = [sorted(map(int, names)) for names in numbers.values()]
        start = min(names[0] for names in counted)
        return sum(names == list(range(start, start + len(names))) for names in counted) >= MOST * len(counted)

    def shape(self, layout: TreeLayout, levels: Mapping[int, Level], names: Names) -> Shape:
        """Return the shape with some levels given; within these, what else is told are tracks."""
        innermost = max(levels, default=self.depth)
        others: dict[int, Level] = dict.fromkeys(range(innermost + 1, self.depth), "track")
        every: dict[int, Level] = {**others, **levels}
        return Shape(layout, tuple(every.get(level, "other") for level in range(self.depth)), names)

    def _holds_all(self, told: Sequence[int]) -> bool:
        """Return whether the only name of an outer level is that of a camera, or of a vehicle whose tracks it holds."""
        is_camera = self.are(told[0], is_camera_name)
        is_vehicle = len(told) == 2 and self.are(told[1], lambda name: _is_of_track(name) and not is_camera_name(name))
        return is_camera or is_vehicle


def _is_of_camera(name: str) -> bool:
    return is_camera_name(camera_of_track(name) or "")


def _is_of_track(name: str) -> bool:
    return _is_of_camera(name) or is_track_name(name)


def _shape_beside_names(images: Sequence[ImagePlace]) -> Shape:
    """Return the shape of images whose names tell vehicle and camera: which levels, if any, repeat these."""
    told = [(image.folders, name) for image in _sample(images) if (name := parse_name(image.name))]
    tree = _Tree({image.folders for image in images})
    levels: dict[int, Level] = {}
    for level in range(tree.depth):
        vehicles = sum(same_label(folders[level], name.vehicle) for folders, name in told) / len(told)
        if vehicles > _SOME:
            tracks: dict[int, Level] = {inner: "camera_track" for inner in tree.cameras if inner > level}
            layout: TreeLayout = "tracklets" if level < tree.depth - 1 else "vehicle-folders"
            return tree.shape(layout, {**levels, level: "vehicle", **tracks}, "labels")
        if level in tree.cameras:
            levels[level] = "camera_track"
        elif vehicles > 1 - MOST or _look_alike(told, level):
            example = next(image for image in images if parse_name(image.name))
            raise DataError(
                f"folders and file names tell different vehicles, as in {'/'.join((*example.folders, example.name))}; "
                "use --layout flat to go by the file names"
            )
    return Shape("flat", tuple(levels.get(level, "other") for level in range(tree.depth)), "labels")


def _look_alike(told: Sequence[tuple[tuple[str, ...], ImageName]], level: int) -> bool:
    """Return whether folders are numbered like vehicles, and are many enough to be these."""
    folders = {one[level] for one, _ in told}
    vehicles = {name.vehicle for _, name in told} - {JUNK}
    lengths = {len(vehicle) for vehicle in vehicles}
    numbered = all(folder.isdecimal() and len(folder) in lengths for folder in folders)
    return numbered and 2 * len(folders) >= len(vehicles) > 1


def _shape_of_folders(images: Sequence[ImagePlace], names: Names) -> Shape:
    """Return the shape of images whose names tell no camera."""
    tree = _Tree({image.folders for image in images})
    if names == "vehicle" and len(tree.told) < 2:
        return _shape_beside_vehicles(tree, images)
    if not tree.told and tree.depth:
        raise _nothing_tells_vehicles(tree)
    if not tree.told:
        return tree.shape("flat", {}, "nothing")
    if len(tree.told) == 1:
        if tree.are(tree.told[0], _is_of_track):
            raise _nothing_tells_vehicles(tree)
        return tree.shape("vehicle-folders", {tree.told[0]: "vehicle"}, "nothing")
    possible = _by_camera_names(tree) if tree.cameras else _by_what_recurs(tree)
    if len(possible) != 1:
        raise _unclear(tree)
    return possible[0]


def _shape_beside_vehicles(tree: _Tree, images: Sequence[ImagePlace]) -> Shape:
    """Return the shape of images whose names tell the vehicle, in folders of one level that tells something."""
    if not tree.told:
        return tree.shape("flat", {}, "vehicle")
    (level,) = tree.told
    if level in tree.cameras:
        return tree.shape("flat", {level: "camera_track"}, "vehicle")
    named = ((parse_name_without_camera(image.name), image.folders[level]) for image in images)
    pairs = {(vehicle, folder) for vehicle, folder in named if vehicle}
    if sum(same_label(*pair) for pair in pairs) > _SOME * len(pairs):
        return tree.shape("vehicle-folders", {level: "vehicle"}, "nothing")
    if _are_words(tree.names(level)):  # places, or types and colors, in which vehicles do not recur
        is_camera = len(pairs) > (1 + _FEW) * len({vehicle for vehicle, _ in pairs})
        return tree.shape("flat", {level: "camera"} if is_camera else {}, "vehicle")
    if len(tree.names(level)) == 1:
        return tree.shape("flat", {}, "vehicle")
    folder = min(tree.names(level))
    raise DataError(
        f"folders and file names may both tell vehicles ({folder}/{images[0].name}): choose --layout vehicle-folders "
        "to go by the folders, or --layout flat to go by the names; cameras' folders are known by names such as c1"
    )


def _by_camera_names(tree: _Tree) -> list[Shape]:
    """Return the shapes that are possible where one level is named like cameras."""
    camera = tree.cameras[0]
    place = tree.told.index(camera)
    outer = tree.told[place - 1] if place else None
    inner = tree.told[place + 1] if place + 1 < len(tree.told) else None
    if len(tree.cameras) > 1:
        return []
    if outer is None or inner is None:
        is_within = outer is not None
        if inner is not None and tree.are(inner, is_track_name):
            raise _nothing_tells_vehicles(tree)
    else:
        is_within = not _are_words(tree.names(outer)) and _crosses(tree.pairs(outer, camera))
        is_around = not tree.are(inner, is_track_name) and _crosses(tree.pairs(inner, camera))
        if is_within == is_around and not (is_within and tree.runs(outer, inner)):
            return []
    if is_within and outer is not None:
        return [tree.shape("tracklets", {outer: "vehicle", camera: "camera_track"}, "nothing")]
    return [tree.shape("camera-vehicle", {camera: "camera", inner or 0: "vehicle"}, "nothing")]


def _by_what_recurs(tree: _Tree) -> list[Shape]:
    """Return the shapes that are possible by which names recur where.

    A camera sees many vehicles, and vehicles are seen by several cameras. Words are names of cameras, not of vehicles.
    """
    outer, inner = tree.told[:2]
    places, words = _are_words(tree.names(outer)), _are_words(tree.names(inner))
    tracks = tree.are(inner, is_track_name)
    possible = []
    if not places:
        by_prefix = tree.pairs(outer, inner, camera_of=camera_of_track)
        if tree.are(inner, lambda name: camera_of_track(name) is not None) and _crosses(by_prefix):
            possible.append(tree.shape("tracklets", {outer: "vehicle", inner: "camera_track"}, "nothing"))
        elif not tracks and _crosses(tree.pairs(outer, inner)):
            possible.append(tree.shape("tracklets", {outer: "vehicle", inner: "camera"}, "nothing"))
        if tracks or tree.runs(outer, inner):
            possible.append(tree.shape("tracklets", {outer: "vehicle", inner: "track"}, "nothing"))
    if not words and not tracks and _crosses(tree.pairs(inner, outer)):
        possible.append(tree.shape("camera-vehicle", {outer: "camera", inner: "vehicle"}, "nothing"))
    return possible


def _are_words(names: Iterable[str]) -> bool:
    return not any(map(has_digit, names))


def _crosses(vehicles_and_cameras: Collection[tuple[str, str]]) -> bool:
    """Return whether this can be vehicles and cameras: vehicles are no fewer, and each recurs with the other."""
    vehicles, cameras = ({pair[side] for pair in vehicles_and_cameras} for side in (0, 1))
    return len(cameras) <= len(vehicles) and _recur(vehicles_and_cameras)


def _recur(vehicles_and_cameras: Iterable[tuple[str, str]]) -> bool:
    """Return whether several cameras are there, most of which see several vehicles, some of which several see."""
    seen_by: Mapping[str, set[str]] = defaultdict(set)
    sees: Mapping[str, set[str]] = defaultdict(set)
    for vehicle, camera in vehicles_and_cameras:
        seen_by[vehicle].add(camera)
        sees[camera].add(vehicle)
    several = sum(len(vehicles) > 1 for vehicles in sees.values())
    recurring = sum(len(cameras) > 1 for cameras in seen_by.values())
    return len(sees) > 1 and 2 * several > len(sees) and recurring >= _FEW * len(seen_by)


def _nothing_tells_vehicles(tree: _Tree) -> DataError:
    names = tree.names(tree.told[0] if tree.told else tree.depth - 1)
    if tree.told and tree.are(tree.told[0], _is_of_track) and not tree.are(tree.told[0], is_camera_name):
        return DataError(
            f"its folders are named like the tracks of one vehicle ({min(names)}): give the folder above it; if each "
            "is a vehicle, use --layout vehicle-folders"
        )
    kind = "cameras" if tree.cameras else "dates or parts"
    return DataError(
        f"{len(names)} folders are named like {kind} ({min(names)}), and nothing tells the vehicles; sort the images "
        "of each into folders by vehicle, or use --layout table"
    )


def _unclear(tree: _Tree) -> DataError:
    outer, inner = tree.told[:2]
    folders, first, last = min(tree.folders), len(tree.names(outer)), len(tree.names(inner))
    innermost = len(tree.names(tree.depth - 1))
    return DataError(
        f"its folders ({'/'.join(folders)}) can be read in more than one way: VEHICLE/TRACK ({first} vehicles: "
        f"--layout tracklets), CAMERA/VEHICLE ({last} vehicles, {first} cameras: --layout camera-vehicle) or */VEHICLE "
        f"({innermost} vehicles: --layout vehicle-folders); VEHICLE/CAMERA is known by cameras named such as c1"
    )


def _refuse_several_data_sets(images: Sequence[ImagePlace], shape: Shape) -> None:
    """Refuse folders that tell nothing and hold the same vehicles: in two data sets, these are not the same.

    Numbered parts of an archive are one data set. Where file names tell cameras, the same vehicle may be in several
    folders, but rarely with the same camera.
    """
    vehicle = shape.levels.index("vehicle") if "vehicle" in shape.levels else len(shape.levels)
    outer = [level for level in range(vehicle) if shape.levels[level] == "other"]
    if all(is_part_name(part) for folders in {image.folders for image in images} for part in folders[:vehicle]):
        return
    parts_of: Mapping[object, set[tuple[str, ...]]] = defaultdict(set)
    for image in images:
        name = parse_name(image.name) if shape.names == "labels" else None
        if name:
            key: object = name.vehicle, name.camera
        elif vehicle < len(shape.levels):
            key = image.folders[vehicle]
        else:
            key = parse_name_without_camera(image.name)
        parts = (image.folders[level] for level in outer)
        parts_of[key].add(tuple(part for part in parts if not is_part_name(part)))
    several = [parts for parts in parts_of.values() if len(parts) > 1]
    if len(several) > _FEW * len(parts_of):
        one, other, *_ = sorted("/".join(parts) for parts in several[0])
        raise DataError(
            f"its folders {one} and {other} hold vehicles of the same names: if these are several data sets, give one "
            f"of them; if they are the same vehicles, use --layout {shape.layout}"
        )
