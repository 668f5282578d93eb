from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.data.dataset import Problem
from reid.data.inspection import inspect
from reid.data.layout import read_dataset
from reid.runtime.tracklet import Tracklet

_NUMBERS = count()


def write(path: Path) -> None:
    """Write an image that no other has the bytes of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(next(_NUMBERS)).integers(0, 255, (6, 6, 3), np.uint8)
    path.write_bytes(bytes(cv2.imencode(".png", pixels)[1]))


def found(problems: Sequence[Problem]) -> dict[str, set[str]]:
    where: dict[str, set[str]] = defaultdict(set)
    for problem in problems:
        where[problem.kind].add(problem.where)
    return dict(where)


def described(entries: Sequence[Tracklet], root: Path) -> set[tuple[str | None, str | None, tuple[str, ...]]]:
    """Vehicle, camera and files of each entry."""
    return {
        (e.vehicle, e.camera, tuple(Path(str(frame)).relative_to(root).as_posix() for frame in e.frames))
        for e in entries
    }


def tracklet_folders(root: Path, vehicles: Sequence[str], tracks: Sequence[str], frames: int = 3) -> None:
    for vehicle in vehicles:
        for track in tracks:
            for index in range(frames):
                write(root / vehicle / track / f"{index:03d}.png")


# ---- tracklet folders ----


def test_tracklet_folders_give_vehicle_and_camera_and_frames_in_order(tmp_path: Path) -> None:
    tracklet_folders(tmp_path, [f"car{number}" for number in range(8)], ["c001_0", "c001_1", "c002_0"])
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "tracklets"
    expected = {
        (f"car{number}", camera, tuple(f"car{number}/{camera}_{track}/{index:03d}.png" for index in range(3)))
        for number in range(8)
        for camera, track in (("c001", 0), ("c001", 1), ("c002", 0))
    }
    assert described((*dataset.train.tracklets, *dataset.gallery.tracklets), tmp_path) == expected
    assert len(dataset.train.images) + len(dataset.gallery.images) == 8 * 3 * 3
    assert inspect(dataset).problems == ()


def test_a_held_out_query_of_tracklet_folders_is_in_its_own_tracklet(tmp_path: Path) -> None:
    """Every track has a file of the same name, so the name alone would find a wrong one."""
    tracklet_folders(tmp_path, [f"car{number}" for number in range(16)], ["c001_0", "c001_1", "c001_2", "c002_0"])
    dataset = read_dataset(tmp_path, "tracklets")
    assert len(dataset.query.images) >= 8
    for query, own in zip(dataset.query.images, dataset.query.tracklets, strict=True):
        assert query.frames[0] in own.frames


def test_tracklet_folders_in_splits_take_the_middle_frame_of_a_query_tracklet_as_its_query_image(
    tmp_path: Path,
) -> None:
    for part, vehicles in (("train", ["a", "b"]), ("query", ["x"]), ("gallery", ["x", "y"])):
        tracklet_folders(tmp_path / part, vehicles, ["c1_0", "c2_0"], frames=5)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "tracklets"
    assert described(dataset.query.images, tmp_path) == {
        ("x", camera, (f"query/x/{camera}_0/002.png",)) for camera in ("c1", "c2")
    }
    assert described(dataset.query.tracklets, tmp_path) == {
        ("x", camera, tuple(f"query/x/{camera}_0/{index:03d}.png" for index in range(5))) for camera in ("c1", "c2")
    }
    for image, own in zip(dataset.query.images, dataset.query.tracklets, strict=True):
        assert image.frames[0] in own.frames
    assert {t.vehicle for t in dataset.train.tracklets} == {"a", "b"}
    assert {t.vehicle for t in dataset.gallery.tracklets} == {"x", "y"}
    assert len(dataset.gallery.images) == 20
    assert inspect(dataset).problems == ()


def test_empty_tracks_empty_vehicles_and_loose_images_are_reported(tmp_path: Path) -> None:
    tracklet_folders(tmp_path, [f"car{number}" for number in range(8)], ["c001_0", "c002_0"])
    (tmp_path / "car0" / "c003_0").mkdir()
    (tmp_path / "car0" / "c003_0" / "notes.txt").write_text("nothing here")
    (tmp_path / "hollow").mkdir()
    write(tmp_path / "car1" / "loose.png")
    write(tmp_path / "preview.png")
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "tracklets"
    assert found(dataset.problems) == {
        "empty split": {"car0/c003_0", "hollow"},
        "not in a track": {"car1/loose.png", "preview.png"},
    }


def test_links_to_tracklets_and_vehicles_are_followed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    tracklet_folders(store, [f"car{number}" for number in range(8)], ["c001_0", "c002_0"])
    linked = tmp_path / "linked"
    (linked / "car7").mkdir(parents=True)
    for number in range(7):
        (linked / f"car{number}").symlink_to(store / f"car{number}")
    for track in ("c001_0", "c002_0"):
        (linked / "car7" / track).symlink_to(store / "car7" / track)
    dataset = read_dataset(linked)
    tracklets = (*dataset.train.tracklets, *dataset.gallery.tracklets)
    assert {(t.vehicle, t.camera, len(t.frames)) for t in tracklets} == {
        (f"car{number}", camera, 3) for number in range(8) for camera in ("c001", "c002")
    }
    assert inspect(dataset).problems == ()


def test_hidden_files_and_folders_are_no_data(tmp_path: Path) -> None:
    tracklet_folders(tmp_path, [f"car{number}" for number in range(8)], ["c001_0", "c002_0"])
    write(tmp_path / ".thumbnails" / "c001_0" / "000.png")
    write(tmp_path / "car0" / ".cache" / "000.png")
    write(tmp_path / "car0" / "c001_0" / "._000.png")
    dataset = read_dataset(tmp_path)
    assert dataset.problems == ()
    assert len(dataset.train.images) + len(dataset.gallery.images) == 8 * 2 * 3


# ---- flat folders ----


def veri_names(vehicles: Sequence[int], cameras: Sequence[int] = (1, 2), frames: int = 3) -> list[str]:
    return [
        f"{vehicle:04d}_c{camera:03d}_{100 * camera + index:08d}_{index}.png"
        for vehicle in vehicles
        for camera in cameras
        for index in range(frames)
    ]


def test_a_flat_folder_of_veri_names_is_read(tmp_path: Path) -> None:
    names = veri_names(range(1, 9))
    for name in names:
        write(tmp_path / name)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "flat"
    expected = {(name[:4], name[5:9], (name,)) for name in names}
    assert described((*dataset.train.images, *dataset.gallery.images), tmp_path) == expected
    views: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        views[name[:4], name[5:9]].append(name)
    tracks = {(*view, tuple(sorted(members))) for view, members in views.items()}
    assert described((*dataset.train.tracklets, *dataset.gallery.tracklets), tmp_path) == tracks
    assert inspect(dataset).problems == ()


@pytest.mark.parametrize(
    ("train", "query", "gallery"),
    [
        ("train", "query", "gallery"),
        ("bounding_box_train", "query", "bounding_box_test"),
        ("train", "query", "test"),
    ],
)
def test_flat_folders_in_splits_are_read(tmp_path: Path, train: str, query: str, gallery: str) -> None:
    for name in veri_names([1, 2]):
        write(tmp_path / train / name)
    for name in veri_names([3, 4]):
        write(tmp_path / gallery / name)
    for name in veri_names([3, 4], frames=1):
        write(tmp_path / query / name)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "flat"
    assert {i.vehicle for i in dataset.train.images} == {"0001", "0002"}
    assert len(dataset.query.images) == len(dataset.query.tracklets) == 4
    assert len(dataset.gallery.images) == 12
    for image, own in zip(dataset.query.images, dataset.query.tracklets, strict=True):
        assert (own.vehicle, own.camera, len(own.frames)) == (image.vehicle, image.camera, 3)
    assert inspect(dataset).problems == ()


def test_market_names_keep_recordings_apart_and_junk_out(tmp_path: Path) -> None:
    gallery = [f"{v:04d}_c{c}s{s}_{f:06d}_00.png" for v in (5, 6) for c in (1, 2) for s in (1, 2) for f in (10, 20)]
    for name in (*gallery, "-1_c1s1_000010_01.png", "0000_c1s1_000010_02.png"):
        write(tmp_path / "bounding_box_test" / name)
    for name in ("0005_c1s1_000015_00.png", "0006_c2s2_000015_00.png"):
        write(tmp_path / "query" / name)
    for name in ("0001_c1s1_000010_00.png", "0002_c1s1_000010_00.png"):
        write(tmp_path / "bounding_box_train" / name)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "flat"
    assert {image.vehicle for image in dataset.gallery.images} == {"0000", "0005", "0006"}
    assert {image.camera for image in dataset.gallery.images} == {"c1", "c2"}
    files = {tuple(Path(str(frame)).name for frame in t.frames) for t in dataset.gallery.tracklets}
    expected = {(first, second) for first, second in zip(gallery[::2], gallery[1::2], strict=True)}
    assert files == expected | {("0000_c1s1_000010_02.png",)}
    own = [Path(str(tracklet.frames[0])).name for tracklet in dataset.query.tracklets]
    assert own == ["0005_c1s1_000010_00.png", "0006_c2s2_000010_00.png"]
    assert inspect(dataset).problems == ()


def test_names_that_say_nothing_are_left_out_and_reported(tmp_path: Path) -> None:
    for name in (*veri_names(range(1, 9)), "holiday.png", "0001.png"):
        write(tmp_path / name)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "flat"
    assert found(dataset.problems) == {"unknown identity": {"holiday.png", "0001.png"}}


def test_upper_case_suffixes_are_images_and_other_files_are_not(tmp_path: Path) -> None:
    for name in veri_names(range(1, 9)):
        write(tmp_path / Path(name).with_suffix(".PNG"))
    (tmp_path / "0001_c001_00000001_0.txt").write_text("no image")
    dataset = read_dataset(tmp_path)
    assert len(dataset.train.images) + len(dataset.gallery.images) == 48
    assert inspect(dataset).problems == ()


def test_too_few_vehicles_are_all_for_training_and_reported(tmp_path: Path) -> None:
    for name in veri_names([1, 2, 3]):
        write(tmp_path / name)
    dataset = read_dataset(tmp_path)
    assert len(dataset.train.images) == 18
    assert dataset.query.images == ()
    assert set(found(dataset.problems)) == {"empty split"}


# ---- half of the split folders ----


@pytest.mark.parametrize("layout", ["flat", "tracklets"])
@pytest.mark.parametrize(
    "there", [("gallery",), ("query",), ("train", "gallery"), ("train", "query"), ("query", "test")]
)
def test_split_folders_that_are_missing_are_named_and_those_that_are_there_are_read(
    tmp_path: Path, layout: str, there: list[str]
) -> None:
    for part in there:
        if layout == "flat":
            for name in veri_names([1, 2]):
                write(tmp_path / part / name)
        else:
            tracklet_folders(tmp_path / part, ["a", "b"], ["c1_0", "c2_0"])
    dataset = read_dataset(tmp_path)
    assert dataset.layout == layout
    have = {"gallery" if part == "test" else part for part in there}
    assert found(dataset.problems) == {"empty split": {"train", "query", "gallery"} - have}
    assert {part for part in ("train", "query", "gallery") if getattr(dataset, part).images} == have


def test_a_split_folder_without_images_is_named(tmp_path: Path) -> None:
    for part in ("train", "gallery"):
        for name in veri_names([1, 2] if part == "train" else [3, 4]):
            write(tmp_path / part / name)
    (tmp_path / "query").mkdir()
    assert found(read_dataset(tmp_path).problems) == {"empty split": {"query"}}


def test_a_training_folder_alone_is_split_by_vehicle(tmp_path: Path) -> None:
    for name in veri_names(range(1, 9)):
        write(tmp_path / "train" / name)
    dataset = read_dataset(tmp_path)
    assert dataset.problems == ()
    assert dataset.query.images
    assert not {i.vehicle for i in dataset.train.images} & {i.vehicle for i in dataset.gallery.images}
