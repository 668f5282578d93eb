"""Folders as people have them, right and wrong: read as they were written, or refused with a line that helps.

The trees are written from patterns: what a file's path tells is known from the pattern, not from the code under test.
"""

from __future__ import annotations

import csv
import random
import re
import shutil
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid.data.dataset import Dataset
from reid.data.layout import READERS, open_dataset, read_dataset
from reid.runtime.errors import DataError
from reid.runtime.folders import read_folder
from reid.runtime.tracklet import Tracklet

Labels: TypeAlias = dict[str, tuple[str, str | None]]
"""Path -> vehicle and camera."""

PLACES = ("north", "south", "east", "west", "gate", "yard", "bridge", "tunnel")
IMAGE = bytes(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1])


class Sighting(NamedTuple):
    """One image: numbers of vehicle, camera, track within the camera, frame, track of the vehicle, track of all."""

    v: int
    c: int
    t: int
    f: int
    own: int
    every: int


class Pattern(NamedTuple):
    """How a tree is named: the layout as which it has to be recognized, and patterns of path, vehicle and camera."""

    layout: str
    path: str
    vehicle: str
    camera: str | None


def sightings(vehicles: int = 12, cameras: int = 4, seed: int = 0) -> list[Sighting]:
    """Every vehicle is seen by some of the cameras, at least two, over one or two tracks of two frames each."""
    chance = random.Random(seed)
    found = []
    every = 0
    for v in range(1, vehicles + 1):
        own = 0
        for c in sorted(chance.sample(range(1, cameras + 1), chance.randint(2, cameras))):
            for t in range(chance.randint(1, 2)):
                every, own = every + 1, own + 1
                found += [Sighting(v, c, t, f, own, every) for f in range(2)]
    return found


def written(pattern: Pattern, seen: Iterable[Sighting]) -> Labels:
    """Return the labels of a tree; with {split} in its path, the last half of the vehicles is for evaluation."""
    seen = list(seen)
    half = max(one.v for one in seen) // 2
    labels: Labels = {}
    for number, one in enumerate(seen):
        words = {**one._asdict(), "number": number, "time": 1000 * one.c + 100 * one.t + 10 * one.f}
        words |= {"place": PLACES[one.c - 1], "letter": "ABCDEFGH"[one.c - 1], "part": f"{one.v % 3 + 1:02d}"}
        camera = pattern.camera and pattern.camera.format(**words)
        splits = ["train"] if one.v <= half else ["gallery"] if one.f else ["gallery", "query"]
        for split in splits if "{split}" in pattern.path else [""]:
            labels[pattern.path.format(split=split, **words)] = pattern.vehicle.format(**words), camera
    return labels


def write(root: Path, names: Iterable[str], content: bytes = IMAGE) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def entries(dataset: Dataset) -> list[Tracklet]:
    return [
        entry
        for split in (dataset.train, dataset.query, dataset.gallery)
        for entry in (*split.images, *split.tracklets)
    ]


def read_labels(dataset: Dataset) -> Labels:
    """Return the labels that a data set gives to each file."""
    root = dataset.root
    return {
        Path(str(frame)).relative_to(root).as_posix(): (str(entry.vehicle), entry.camera)
        for entry in entries(dataset)
        for frame in entry.frames
    }


def files_left_out(dataset: Dataset) -> set[str]:
    """Return the files that are listed as not used, folders being expanded."""
    names = set()
    for one in dataset.left_out:
        inside = (
            [path for path in (dataset.root / one.where).rglob("*") if path.is_file()] if one.where[-1] == "/" else []
        )
        names |= {path.relative_to(dataset.root).as_posix() for path in inside} or {one.where.rstrip("/")}
    return names


def assert_every_file_is_accounted_for(dataset: Dataset) -> None:
    every = {path.relative_to(dataset.root).as_posix() for path in dataset.root.rglob("*") if path.is_file()}
    lists = {name for name in dataset.lists if name in every}
    assert read_labels(dataset).keys() | lists | files_left_out(dataset) >= every
    images = {
        str(image.frames[0]) for split in (dataset.train, dataset.query, dataset.gallery) for image in split.images
    }
    assert not {str(dataset.root / name) for name in files_left_out(dataset)} & images


def refusal(root: Path, layout: str | None = None) -> str | None:
    """Return the line with which a folder is refused for training and evaluation; None if it is not."""
    try:
        open_dataset(root, layout, needs="train")
    except DataError as error:
        return str(error)
    return None


# ---- what is right is read as it was written ----

RIGHT = {
    "VeRi's names": Pattern("flat", "{v:04d}_c{c:03d}_{time:08d}_0.jpg", "{v:04d}", "c{c:03d}"),
    "VeRi's names in splits": Pattern("flat", "{split}/{v:04d}_c{c:03d}_{time:08d}_0.JPG", "{v:04d}", "c{c:03d}"),
    "Market's names": Pattern("flat", "{v:04d}_c{c}s{t}_{time:06d}_00.jpg", "{v:04d}", "c{c}"),
    "Duke's names": Pattern("flat", "{split}/{v:04d}_c{c}_f{time:07d}.jpg", "{v:04d}", "c{c}"),
    "numbers without zeros": Pattern("flat", "{v}_c{c}_{time}.png", "{v}", "c{c}"),
    "names without cameras": Pattern("flat", "{v:04d}_{number:06d}.jpg", "{v:04d}", None),
    "Duke-VideoReID": Pattern(
        "tracklets", "{split}/{v:04d}/{every:04d}/{v:04d}_C{c}_F{f:04d}_X{time}.jpg", "{v:04d}", "c{c}"
    ),
    "acquisitions that look like cameras": Pattern(
        "tracklets", "{split}/{v:04d}/{t}_{own}/{v:04d}_c{c:03d}_{time:08d}_0.jpg", "{v:04d}", "c{c:03d}"
    ),
    "a folder a vehicle": Pattern("vehicle-folders", "{v:04d}/{number:05d}.jpg", "{v:04d}", None),
    "a folder a vehicle in splits": Pattern("vehicle-folders", "{split}/{v}/{number}.tif", "{v}", None),
    "a folder a vehicle with labels": Pattern(
        "vehicle-folders", "{split}/{v:04d}/{v:04d}_c{c:03d}_{time:08d}_0.jpg", "{v:04d}", "c{c:03d}"
    ),
    "a folder a vehicle with numbers": Pattern("vehicle-folders", "{v:04d}/{v:04d}_{number:05d}.jpg", "{v:04d}", None),
    "a folder a vehicle, below train": Pattern("vehicle-folders", "train/{v:04d}/{number}.jpg", "{v:04d}", None),
    "names with letters": Pattern("vehicle-folders", "Käfer Nr {v}/IMG {number}.jpeg", "Käfer Nr {v}", None),
    "parts of an archive": Pattern("vehicle-folders", "images.part{part}/images/{v:05d}/{number}.jpg", "{v:05d}", None),
    "dates that tell nothing": Pattern("vehicle-folders", "2024-05-{part}/{v:05d}/{number}.jpg", "{v:05d}", None),
    "tracklets": Pattern("tracklets", "{v:04d}/c{c:03d}_{t}/{f}.jpg", "{v:04d}", "c{c:03d}"),
    "tracklets in splits": Pattern("tracklets", "{split}/car {v}/cam{c}-{t}/{f}.webp", "car {v}", "cam{c}"),
    "tracklets in parts": Pattern("tracklets", "part{part}/{v:05d}/c{c}_{t}/{f}.jpg", "{v:05d}", "c{c}"),
    "tracklets of places": Pattern("tracklets", "{v:04d}/{place}_{t}/{f}.jpg", "{v:04d}", "{place}"),
    "the camera after the track": Pattern("tracklets", "{v:04d}/t{t}_cam{c}/{f}.jpg", "{v:04d}", "cam{c}"),
    "the camera amidst": Pattern("tracklets", "{v:04d}/{v:04d}_c{c}_{t}/{f}.jpg", "{v:04d}", "c{c}"),
    "tracks without cameras": Pattern("tracklets", "{v:04d}/track_{own}/{f}.jpg", "{v:04d}", None),
    "vehicle, camera": Pattern("tracklets", "{v:04d}/c{c}/{t}{f}.jpg", "{v:04d}", "c{c}"),
    "vehicle, place": Pattern("tracklets", "{v:04d}/{place}/{t}{f}.jpg", "{v:04d}", "{place}"),
    "vehicle, camera, track": Pattern("tracklets", "{split}/{v:04d}/c{c}/{t}/{f}.jpg", "{v:04d}", "c{c}"),
    "vehicle, place, track": Pattern("tracklets", "{v:04d}/{place}/{t}/{f}.jpg", "{v:04d}", "{place}"),
    "camera, vehicle": Pattern("camera-vehicle", "c{c:03d}/{v:04d}/{t}{f}.jpg", "{v:04d}", "c{c:03d}"),
    "camera, vehicle in splits": Pattern("camera-vehicle", "{split}/Camera {c}/{v}/{t}{f}.jpg", "{v}", "Camera {c}"),
    "place, vehicle": Pattern("camera-vehicle", "{place}/{v:04d}/{t}{f}.jpg", "{v:04d}", "{place}"),
    "letter, vehicle": Pattern("camera-vehicle", "{letter}/Käfer {v}/{t}{f}.jpg", "Käfer {v}", "{letter}"),
    "number, vehicle": Pattern("camera-vehicle", "{c}/{v:04d}/{t}{f}.jpg", "{v:04d}", "{c}"),
    "camera, vehicle, track": Pattern("camera-vehicle", "cam{c}/{v:04d}/{t}/{f}.jpg", "{v:04d}", "cam{c}"),
    "place, vehicle, track": Pattern("camera-vehicle", "{place}/{v:04d}/track{t}/{f}.jpg", "{v:04d}", "{place}"),
    "cameras around labels": Pattern("flat", "cam{c}/{v:04d}_c{c:03d}_{time:08d}_0.jpg", "{v:04d}", "c{c:03d}"),
    "cameras around vehicles' names": Pattern("flat", "cam{c}/{v:04d}_{number:06d}.jpg", "{v:04d}", "cam{c}"),
    "places around vehicles' names": Pattern("flat", "{place}/{v:04d}_{number:06d}.jpg", "{v:04d}", "{place}"),
}

OF_TRACKS = [name for name, pattern in RIGHT.items() if pattern.layout in ("tracklets", "camera-vehicle")]

KNOWN_TO_INFERENCE = [
    "VeRi's names",
    "Market's names",
    "numbers without zeros",
    "Duke-VideoReID",
    "acquisitions that look like cameras",
    "tracklets",
    "tracklets of places",
    "the camera after the track",
    "the camera amidst",
    "vehicle, camera",
    "camera, vehicle",
    "camera, vehicle, track",
]


@pytest.mark.parametrize("name", RIGHT)
def test_a_tree_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    pattern = RIGHT[name]
    labels = written(pattern, sightings())
    write(tmp_path, labels)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == pattern.layout
    assert read_labels(dataset) == labels
    assert dataset.problems == ()
    assert_every_file_is_accounted_for(dataset)
    if "{split}" in pattern.path:
        for split, part in ((dataset.train, "train"), (dataset.query, "query"), (dataset.gallery, "gallery")):
            files = {Path(str(entry.frames[0])).relative_to(tmp_path).parts[0] for entry in split.images}
            assert files == {part}
    else:
        assert not {image.vehicle for image in dataset.train.images} & {
            image.vehicle for image in dataset.gallery.images
        }
        assert dataset.query.images
    assert read_labels(read_dataset(tmp_path, pattern.layout)) == labels


@pytest.mark.parametrize("name", OF_TRACKS)
def test_each_innermost_folder_of_a_tree_of_tracks_is_a_tracklet(tmp_path: Path, name: str) -> None:
    labels = written(RIGHT[name], sightings())
    write(tmp_path, labels)
    dataset = read_dataset(tmp_path)
    tracks = {tracklet.frames for split in (dataset.train, dataset.gallery) for tracklet in split.tracklets}
    folders = {(tmp_path / name).parent for name in labels if not name.startswith("query/")}
    assert {path.parent for frames in tracks for path in frames if isinstance(path, Path)} == folders
    assert len(tracks) == len(folders)


@pytest.mark.parametrize("name", RIGHT)
def test_inference_knows_no_other_labels_than_evaluation(tmp_path: Path, name: str) -> None:
    labels = written(RIGHT[name], sightings())
    write(tmp_path, labels)
    read = {
        Path(str(frame)).relative_to(tmp_path).as_posix(): (tracklet.vehicle, tracklet.camera)
        for tracklet in read_folder(tmp_path)
        for frame in tracklet.frames
    }
    assert read.keys() == labels.keys()
    known = {path: told for path, told in read.items() if told != (None, None)}
    assert known == {path: labels[path] for path in known}
    if name in KNOWN_TO_INFERENCE:
        assert known == labels


@pytest.mark.parametrize("name", [*RIGHT][::3])
def test_an_archive_is_read_like_the_tree_in_it(tmp_path: Path, name: str) -> None:
    labels = written(RIGHT[name], sightings())
    write(tmp_path, ["image"])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as zipped, tarfile.open(tmp_path / "set.tar", "w") as tarred:
        for path in labels:
            zipped.writestr(f"mine/{path}", IMAGE)
            tarred.add(tmp_path / "image", f"mine/{path}")
    for archive in ("set.zip", "set.tar"):
        dataset = read_dataset(tmp_path / archive)
        assert {path.removeprefix("mine/"): told for path, told in read_labels(dataset).items()} == labels


@pytest.mark.parametrize("name", RIGHT)
def test_litter_and_folders_around_change_nothing(tmp_path: Path, name: str) -> None:
    labels = {f"a/b/{path}": told for path, told in written(RIGHT[name], sightings()).items()}
    inner = [path.rpartition("/") for path in labels]
    litter = [f"a/__MACOSX/{folder}/._{file}" for folder, _, file in inner][:40]
    litter += [".DS_Store", "a/.DS_Store", "a/readme.txt", f"{inner[0][0]}/Thumbs.db", f"{inner[-1][0]}/.DS_Store"]
    write(tmp_path, labels)
    write(tmp_path, litter)
    dataset = read_dataset(tmp_path)
    prefix = dataset.root.relative_to(tmp_path).as_posix().removeprefix(".")
    assert {f"{prefix}/{path}".lstrip("/"): told for path, told in read_labels(dataset).items()} == labels
    assert dataset.problems == ()
    assert_every_file_is_accounted_for(dataset)
    assert prefix == "" or any(str(dataset.root) in note for note in dataset.notes)


@pytest.mark.parametrize("name", ["tracklets", "camera, vehicle", "a folder a vehicle with labels"])
def test_linked_folders_are_read_like_their_targets(tmp_path: Path, name: str) -> None:
    labels = written(RIGHT[name], sightings())
    write(tmp_path / "store", labels)
    (tmp_path / "linked").mkdir()
    for folder in (tmp_path / "store").iterdir():
        (tmp_path / "linked" / folder.name).symlink_to(folder)
    assert read_labels(read_dataset(tmp_path / "linked")) == labels


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(RIGHT)),
    vehicles=st.integers(6, 40),
    cameras=st.integers(2, 8),
    seed=st.integers(0, 1000),
)
def test_whatever_is_in_a_tree_its_labels_are_those_written_or_it_is_refused(
    tmp_path: Path, name: str, vehicles: int, cameras: int, seed: int
) -> None:
    labels = written(RIGHT[name], [one for one in sightings(vehicles, cameras, seed) if one.f == 0])
    root = tmp_path / "tree"
    shutil.rmtree(root, ignore_errors=True)
    write(root, labels)
    if reason := refusal(root):
        assert RIGHT[name].layout in re.findall(r"--layout ([\w-]+)", reason)
        assert read_labels(open_dataset(root, RIGHT[name].layout, needs="train")) == labels
    else:
        assert read_labels(read_dataset(root)) == labels


# ---- data sets as published ----


def test_market_with_junk_and_distractors(tmp_path: Path) -> None:
    names = Pattern("flat", "{split}/{v:04d}_c{c}s{t}_{time:06d}_00.jpg", "{v:04d}", "c{c}")
    folders = {"train": "bounding_box_train", "gallery": "bounding_box_test", "query": "query"}
    labels = {
        re.sub(r"^\w+", lambda m: folders[m[0]], path): told for path, told in written(names, sightings()).items()
    }
    labels["bounding_box_test/0000_c1s1_000001_00.jpg"] = ("0000", "c1")
    root = tmp_path / "Market-1501-v15.09.15"
    write(root, labels)
    left_out = {
        "bounding_box_test/-1_c1s1_000001_00.jpg": "junk",
        "bounding_box_test/Thumbs.db": "not an image by its name",
    }
    left_out |= {"gt_bbox/": "in no split", "gt_query/": "not an image by its name"}
    write(root, [*list(left_out)[:2], "gt_bbox/0001_c1s1_000001_00.jpg", "gt_query/0001_c1s1_000001_00_good.mat"])
    for given_folder in (root, tmp_path):
        dataset = read_dataset(given_folder)
        assert (dataset.root, read_labels(dataset), dataset.problems) == (root, labels, ())
        assert {one.where: one.reason for one in dataset.left_out} == left_out
        assert_every_file_is_accounted_for(dataset)


def test_train_all_goes_before_train_and_val(tmp_path: Path) -> None:
    labels = written(RIGHT["a folder a vehicle with labels"], sightings())
    labels = {re.sub("^train/", "train_all/", path): told for path, told in labels.items()}
    write(tmp_path, [*labels, "train/0001/0001_c001_00001000_0.jpg", "val/0002/0002_c001_00001000_0.jpg"])
    dataset = read_dataset(tmp_path)
    assert read_labels(dataset) == labels
    assert {one.where for one in dataset.left_out} == {"train/", "val/"}
    assert_every_file_is_accounted_for(dataset)


def vehicle_id(root: Path) -> Labels:
    numbers = {f"{number:07d}": one.v for number, one in enumerate(sightings())}
    write(root / "image", (f"{number}.jpg" for number in numbers))
    lists = root / "train_test_split"
    lists.mkdir()
    for name, are_in in (("train_list", range(1, 7)), ("test_list_800", range(7, 13))):
        lines = [f"{number} {vehicle}\n" for number, vehicle in numbers.items() if vehicle in are_in]
        (lists / f"{name}.txt").write_text("".join(lines))
    return {f"image/{number}.jpg": (str(vehicle), None) for number, vehicle in numbers.items()}


def veri_wild(root: Path) -> Labels:
    images = {f"{one.v:05d}/{number:06d}": one for number, one in enumerate(sightings())}
    write(root / "images", (f"{name}.jpg" for name in images))
    lists = root / "train_test_split"
    lists.mkdir()
    info = [f"{name};{one.c};2018-03-11 07:00:00;unknown;SUV;white\n" for name, one in images.items()]
    (lists / "vehicle_info.txt").write_text("id/image;Camera ID;Time;Model;Type;Color\n" + "".join(info))
    are_in = {"train_list": range(1, 7), "test_3000": range(7, 13), "test_3000_query": range(7, 9)}
    for name, vehicles in are_in.items():
        (lists / f"{name}.txt").write_text("".join(f"{image}\n" for image, one in images.items() if one.v in vehicles))
    return {f"images/{name}.jpg": (f"{one.v:05d}", str(one.c)) for name, one in images.items()}


@pytest.mark.parametrize(("layout", "make"), [("vehicleid", vehicle_id), ("veriwild", veri_wild)])
def test_data_sets_with_lists_of_their_own(tmp_path: Path, layout: str, make: object) -> None:
    root = tmp_path / "parent" / "set"
    root.mkdir(parents=True)
    labels = {vehicle_id: vehicle_id, veri_wild: veri_wild}[make](root)  # type: ignore[index]
    for given_folder in (root, tmp_path / "parent"):
        dataset = read_dataset(given_folder)
        assert dataset.layout == layout
        assert read_labels(dataset) == labels
        assert_every_file_is_accounted_for(dataset)
    within = next(iter(labels)).partition("/")[0]
    reason = refusal(root / within)
    assert reason == f"{root / within} is the part of a data set that its lists label: give {root}"
    gone = sorted(labels)[::3]
    for name in gone:
        (root / name).unlink()
    dataset = read_dataset(root)
    assert read_labels(dataset) == {name: told for name, told in labels.items() if name not in gone}
    assert {problem.where for problem in dataset.problems if problem.kind == "missing file"} == set(gone)


# ---- what is wrong or unclear is refused, and each remedy ends well ----


class Refused(NamedTuple):
    """A tree that is refused.

    Attributes:
        labels: what is in it; where vehicles are None, nobody can tell.
        words: what the line says.
        remedy: the layout among those that the line names which reads it rightly; "table" needs a table.
    """

    labels: Mapping[str, tuple[str | None, str | None]]
    words: str
    remedy: str


def tree(path: str, vehicle: str, camera: str | None, vehicles: int = 12, cameras: int = 4) -> Labels:
    return written(Pattern("", path, vehicle, camera), sightings(vehicles, cameras))


def unlabeled(folders: Iterable[str], name: str = "{:06d}.jpg") -> Labels:
    """Images in folders, of which a table has to tell the vehicles."""
    return {f"{folder}/{name.format(number)}": (f"v{number % 4}", "k") for folder in folders for number in range(8)}


def moved(labels: Labels, share: float, pattern: str, to: str) -> Labels:
    """Move a share of the images into the folders of others."""
    chance = random.Random(1)
    numbers = {
        path: re.sub(pattern, lambda match: to.format(int(match[1]) % 4 + 1), path) if chance.random() < share else path
        for path in labels
    }
    return {numbers[path]: told for path, told in labels.items()}


NAMED = "{v:04d}_c{c:03d}_{time:08d}_0.jpg"
IN_VEHICLES = tree("{v:04d}/" + NAMED, "{v:04d}", "c{c:03d}")
IN_TRACKS = tree("{v:04d}/c{c:03d}_{t}/" + NAMED, "{v:04d}", "c{c:03d}")
IN_CAMERAS = tree("c{c:03d}/" + NAMED, "{v:04d}", "c{c:03d}")

REFUSED = {
    "cameras as vehicles": Refused(unlabeled(f"c{n:03d}" for n in range(8)), "named like cameras (c000)", "table"),
    "video frames by camera": Refused(unlabeled(f"cam{n}" for n in range(4)), "nothing tells the vehicles", "table"),
    "places as vehicles": Refused(unlabeled(PLACES), "named like places or types (bridge)", "table"),
    "types as vehicles": Refused(unlabeled(["bus", "car", "suv", "van"]), "named like places or types (bus)", "table"),
    "dates as vehicles": Refused(unlabeled(f"2024-05-0{n}" for n in range(1, 8)), "like dates or parts", "table"),
    "dates without signs": Refused(unlabeled(f"202405{n}" for n in range(10, 18)), "like dates or parts", "table"),
    "detections by day": Refused(unlabeled(f"day{n}" for n in range(8)), "like dates or parts (day0)", "table"),
    "clips": Refused(unlabeled(f"video_{n:03d}" for n in range(8)), "like dates or parts (video_000)", "table"),
    "cameras and dates": Refused(
        unlabeled(f"cam{c}/2024-05-0{n}" for n in range(1, 8) for c in range(3)), "nothing tells the vehicles", "table"
    ),
    "dates and cameras": Refused(
        unlabeled(f"2024-05-0{n}/cam{c}" for n in range(1, 8) for c in range(3)), "nothing tells the vehicles", "table"
    ),
    "cameras and tracks": Refused(
        unlabeled(f"cam{c}/track_{n}" for n in range(8) for c in range(3)), "nothing tells the vehicles", "table"
    ),
    "a tenth in other vehicles' folders": Refused(
        moved(IN_VEHICLES, 0.1, r"^0*(\d+)", "{:04d}"), "labels disagree in", "vehicle-folders"
    ),
    "most in other vehicles' folders": Refused(
        moved(IN_VEHICLES, 0.6, r"^0*(\d+)", "{:04d}"), "folders and file names tell different vehicles", "flat"
    ),
    "all in other vehicles' folders": Refused(
        {f"{int(path[:4]) % 12 + 1:04d}{path[4:]}": told for path, told in IN_VEHICLES.items()},
        "folders and file names tell different vehicles",
        "flat",
    ),
    "a tenth in other cameras' tracks": Refused(
        moved(IN_TRACKS, 0.1, r"(?<=/c)0*(\d+)(?=_\d/)", "{:03d}"), "labels disagree in", "tracklets"
    ),
    "all in other cameras' tracks": Refused(
        moved(IN_TRACKS, 1.0, r"(?<=/c)0*(\d+)(?=_\d/)", "{:03d}"), "labels disagree in", "tracklets"
    ),
    "two cameras swapped": Refused(
        {re.sub(r"/c00([12])_", lambda m: f"/c00{3 - int(m[1])}_", path): told for path, told in IN_TRACKS.items()},
        "labels disagree in",
        "tracklets",
    ),
    "a tenth in other cameras' folders": Refused(
        moved(IN_CAMERAS, 0.1, r"^c0*(\d+)", "c{:03d}"), "labels disagree in", "flat"
    ),
    "all in other cameras' folders": Refused(
        moved(IN_CAMERAS, 1.0, r"^c0*(\d+)", "c{:03d}"), "labels disagree in", "flat"
    ),
    "tracks numbered like vehicles": Refused(
        tree("{every:04d}/c{c}_{t}/{f}.jpg", "{v}", "c{c}"), "hardly a vehicle is seen by two cameras", "table"
    ),
    "names of tracks numbered like vehicles": Refused(
        tree("{every:04d}_c{c}_{f}.jpg", "{v}", "c{c}"), "hardly a vehicle is seen by two cameras", "table"
    ),
    "cameras of one vehicle each": Refused(
        tree("{v:04d}/{v:04d}{c}_{t}/{f}.jpg", "{v:04d}", None), "more than one way", "tracklets"
    ),
    "more cameras than vehicles": Refused(
        {f"{v}/c{c:03d}_0/{v}.jpg": (f"{v}", f"c{c:03d}") for v in range(5) for c in range(9)},
        "5 vehicles, 9 cameras: read as tracklets, but cameras see many vehicles each",
        "tracklets",
    ),
    "numbers of tracks": Refused(tree("{v:04d}/{own:02d}/{f}.jpg", "{v:04d}", None), "VEHICLE/TRACK", "tracklets"),
    "numbers of all tracks": Refused(tree("{v:04d}/{every}/{f}.jpg", "{v:04d}", None), "VEHICLE/TRACK", "tracklets"),
    "few vehicles of many tracks": Refused(
        {f"{v:04d}/{t:03d}/1.jpg": (f"{v:04d}", None) for v in range(6) for t in range(12)},
        "VEHICLE/TRACK",
        "tracklets",
    ),
    "colors around vehicles": Refused(
        {f"{PLACES[v % 4]}/{v:04d}/{n}.jpg": (f"{v:04d}", None) for v in range(12) for n in range(3)},
        "*/VEHICLE",
        "vehicle-folders",
    ),
    "numbers of all vehicles by camera": Refused(
        {f"{c}/{v}/{n}.jpg": (f"{v}", f"{c}") for v in range(1, 9) for c in range(1, 4) for n in range(2)},
        "CAMERA/VEHICLE",
        "camera-vehicle",
    ),
    "vehicles on several days": Refused(
        tree("2024-05-0{c}/{v:04d}/{t}{f}.jpg", "{v:04d}", None), "hold vehicles of the same names", "vehicle-folders"
    ),
    "numbers around vehicles' names": Refused(
        tree("{c}/{v:04d}_{time:06d}.jpg", "{v:04d}", None), "folders and file names may both tell vehicles", "flat"
    ),
    "frames and boxes in vehicles' folders": Refused(
        tree("{v:03d}/{time:06d}_{c}.jpg", "{v:03d}", None), "may both tell vehicles", "vehicle-folders"
    ),
    "cameras in other names": Refused(
        tree("{v}/cam{c}_{time}.jpg", "{v}", "cam{c}"), "seem to tell 4 cameras", "table"
    ),
    "MARS": Refused(
        tree("{split}/{v:04d}/{v:04d}C{c}T{t:04d}F{f:03d}.jpg", "{v:04d}", "C{c}"), "seem to tell 4 cameras", "table"
    ),
    "copies of folders": Refused(
        tree("{v:04d}/{number}.jpg", "{v:04d}", None) | {"0001 - Copy/1.jpg": ("0001 - Copy", None)},
        "vehicles 0001 and 0001 - Copy may be the same",
        "vehicle-folders",
    ),
    "vehicles with and without zeros": Refused(
        tree("{v:04d}/c{c}_0/{f}.jpg", "{v:04d}", "c{c}") | tree("{v}/c{c}_1/{f}.jpg", "{v}", "c{c}"),
        "vehicles 0001 and 1 may be the same",
        "tracklets",
    ),
    "cameras in large and small letters": Refused(
        tree("{v:04d}/c{c}_0/{f}.jpg", "{v:04d}", "c{c}") | tree("{v:04d}/C{c}_1/{f}.jpg", "{v:04d}", "C{c}"),
        "may be the same",
        "tracklets",
    ),
    "one name in two forms of Unicode": Refused(
        tree("Käfer {v}/{number}.jpg", "Käfer {v}", None)
        | {unicodedata.normalize("NFD", "Käfer 1/a.jpg"): (unicodedata.normalize("NFD", "Käfer 1"), None)},
        "may be the same",
        "vehicle-folders",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_or_unclear_is_refused_and_its_remedy_ends_well(tmp_path: Path, name: str) -> None:
    labels, words, remedy = REFUSED[name]
    write(tmp_path, labels)
    reason = refusal(tmp_path)
    assert reason is not None
    assert words in reason
    assert reason.startswith(str(tmp_path))
    assert "\n" not in reason
    named = re.findall(r"--layout ([\w-]+)", reason.partition("; docs/")[0])
    assert remedy in named
    assert set(named) <= set(READERS)
    if remedy == "table":
        with (tmp_path / "table.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("path", "vehicle", "camera", "split"))
            rows.writerows((path, *told, "train") for path, told in labels.items())
    assert read_labels(open_dataset(tmp_path, remedy, needs="train")) == labels
    for other in set(named) - {"table"}:
        assert_every_file_is_accounted_for(read_dataset(tmp_path, other))


@pytest.mark.parametrize("names", ["number", "place"])
def test_numbered_cameras_of_vehicles_are_known_when_they_are_named_so(tmp_path: Path, names: str) -> None:
    """What the refusal of VEHICLE/NUMBER says."""
    labels = tree("{v:04d}/{c}/{t}{f}.jpg", "{v:04d}", "c{c}")
    write(tmp_path, labels)
    if names == "number" and (reason := refusal(tmp_path)):
        assert reason.partition("; docs/")[0].endswith("VEHICLE/CAMERA is known by cameras named such as c1")
    for folder in tmp_path.glob("*/*"):
        folder.rename(folder.with_name(f"c{folder.name}"))
    renamed = {re.sub(r"/(\d)/", r"/c\1/", path): told for path, told in labels.items()}
    assert read_labels(read_dataset(tmp_path)) == renamed


SEVERAL = {
    "folders of vehicles": ("setA", "setB", "{v:04d}/{t}{c}{f}.jpg"),
    "tracklets": ("setA", "setB", "{v:04d}/c{c}_{t}/{f}.jpg"),
    "names": ("aic", "veri", NAMED),
    "cameras first": ("setA", "setB", "c{c}/{v:04d}/{t}{f}.jpg"),
    "images and masks": ("images", "masks", "{v:04d}/{t}{c}{f}.jpg"),
    "splits": ("aic", "veri", "{split}/" + NAMED),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_data_sets_are_refused_and_each_alone_is_read(tmp_path: Path, name: str) -> None:
    *folders, path = SEVERAL[name]
    camera = None if "c{c" not in path else "c{c:03d}" if "c{c:03d}" in path else "c{c}"
    labels = tree(path, "{v:04d}", camera)
    for folder in folders:
        write(tmp_path / folder, labels)
    reason = refusal(tmp_path)
    assert reason is not None
    assert all(folder in reason for folder in folders)
    assert "give one of them" in reason
    for folder in folders:
        assert refusal(tmp_path / folder) is None
        assert read_labels(read_dataset(tmp_path / folder)) == labels
    for layout in re.findall(r"if they are the same vehicles, use --layout ([\w-]+)", reason):
        together = {f"{folder}/{path}": told for folder in folders for path, told in labels.items()}
        assert read_labels(open_dataset(tmp_path, layout, needs="train")) == together


def test_the_folder_of_one_vehicle_is_refused_and_the_one_above_it_is_read(tmp_path: Path) -> None:
    labels = written(RIGHT["tracklets"], sightings())
    write(tmp_path, labels)
    reason = refusal(tmp_path / "0001")
    assert reason is not None
    assert "named like the tracks of one vehicle" in reason
    assert "give the folder above it" in reason
    assert read_labels(read_dataset(tmp_path)) == labels


def test_one_split_of_a_tree_is_read_with_a_note(tmp_path: Path) -> None:
    labels = written(RIGHT["tracklets in splits"], sightings())
    write(tmp_path, labels)
    dataset = read_dataset(tmp_path / "gallery")
    assert read_labels(dataset) == {
        path.removeprefix("gallery/"): told for path, told in labels.items() if path.startswith("gallery/")
    }
    assert any("one of the splits" in note for note in dataset.notes)


def test_a_name_that_promises_fewer_vehicles_is_doubted(tmp_path: Path) -> None:
    labels = {f"{v:04d}_c{c:03d}_1_0.jpg": (f"{v:04d}", f"c{c:03d}") for v in range(1, 779) for c in (1, 2)}
    write(tmp_path / "VeRi", labels, b"")
    assert "778 vehicles, 2 cameras: read as flat, but VeRi has 776 vehicles" in str(refusal(tmp_path / "VeRi"))
    assert read_labels(open_dataset(tmp_path / "VeRi", "flat", needs="train")) == labels


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (640, 480), (4000, 3000)])
@pytest.mark.parametrize("pattern", ["{v:03d}/{number}.png", "cam{c}/{v:02d}/{number}.png", "Holiday {v}/{number}.png"])
def test_whole_frames_and_photos_are_no_crops(tmp_path: Path, pattern: str, width: int, height: int) -> None:
    names = tree(pattern, "", None, vehicles=8)
    content = bytes(cv2.imencode(".png", np.zeros((height, width), np.uint8))[1])
    write(tmp_path, names, content)
    assert f"the images are {width} x {height}: whole frames or photos" in str(refusal(tmp_path))
    write(tmp_path, names)
    assert refusal(tmp_path) is None


@pytest.mark.parametrize("names", ["frame_{:06d}.jpg", "{:06d}.jpg", "20240501_1230{:02d}.jpg", "photo (1{:02d}).jpg"])
def test_a_folder_of_frames_has_no_vehicles(tmp_path: Path, names: str) -> None:
    write(tmp_path, map(names.format, range(40)))
    dataset = read_dataset(tmp_path)
    assert read_labels(dataset) == {}
    assert {problem.kind for problem in dataset.problems} == {"unknown identity", "empty split"}
    assert "reid-data inspect" in str(refusal(tmp_path))
    assert_every_file_is_accounted_for(dataset)


@pytest.mark.parametrize("folders", [("images/train", "images/val", "labels/train"), ("train/images", "valid/images")])
def test_the_folders_of_a_detector_are_no_vehicles(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        write(tmp_path, (f"{folder}/{n:06d}.{'txt' if 'labels' in folder else 'jpg'}" for n in range(9)))
    assert refusal(tmp_path) is not None


@pytest.mark.parametrize(
    "pattern", ["{v:04d}_{number:06d}.jpg", "{v:04d}/{number}.jpg", "{place}/{v:04d}/{number}.jpg"]
)
def test_what_had_to_be_concluded_is_said(tmp_path: Path, pattern: str) -> None:
    write(tmp_path, tree(pattern, "", None))
    said = {"{v:04d}_{number:06d}.jpg": "VEHICLE_NUMBER", "{v:04d}/{number}.jpg": "VEHICLE/IMAGE"}
    assert read_dataset(tmp_path).notes == (f"read as {said.get(pattern, 'CAMERA/VEHICLE/IMAGE')}",)
