"""Calibration frames: spread evenly, the same whatever the disk says, and never of the evaluation split unasked."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.calibration.selection import CalibrationFacts, CalibrationSet, open_calibration_data, select_frames
from reid.data.dataset import Dataset, Split
from reid.data.layout import read_dataset
from reid.runtime.errors import DataError
from reid.runtime.imaging import read_frame, resize
from reid.runtime.model_card import Preprocessing
from reid.runtime.tracklet import Tracklet

PREPROCESSING = Preprocessing(height=16, width=24, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def dataset(root: Path, cells: Mapping[tuple[str, str], int]) -> Dataset:
    """Write noise images, so many for each (camera, vehicle)."""
    random = np.random.default_rng(0)
    images = []
    for (camera, vehicle), number in cells.items():
        for index in range(number):
            path = root / f"{vehicle}_{camera}_{index:08d}.png"
            cv2.imwrite(str(path), random.integers(0, 256, (9, 7, 3), dtype=np.uint8))
            images.append(Tracklet(path.stem, (path,), camera, vehicle))
    return Dataset("flat", root, Split(tuple(images)), Split(), Split())


def names(frames: CalibrationSet) -> list[str]:
    return [Path(str(image.frames[0])).name for image in frames.images]


def spread(taken: Iterable[str | None], among: Iterable[str]) -> int:
    counts = Counter(taken)
    return max(counts[name] for name in among) - min(counts[name] for name in among)


@pytest.fixture
def uneven(tmp_path: Path) -> Dataset:
    """Four cameras, six vehicles; cells of 1 to 12 images, some absent."""
    numbers = np.random.default_rng(1).integers(1, 13, (4, 6))
    cells = {(f"c{c}", f"{v:03d}"): int(numbers[c, v]) for c in range(4) for v in range(6) if (c + v) % 5}
    return dataset(tmp_path, cells)


@pytest.mark.parametrize("count", [1, 7, 19, 40, 80])
def test_no_cell_gives_more_than_another_that_had_more_to_give(uneven: Dataset, count: int) -> None:
    frames = select_frames(uneven, count, 3)
    available = Counter((image.camera, image.vehicle) for image in uneven.train.images)
    taken = Counter((image.camera, image.vehicle) for image in frames.images)
    assert len(set(names(frames))) == taken.total() == count
    most = max(taken.values())
    assert all(taken[cell] >= min(number, most - 1) for cell, number in available.items())


def test_fewer_frames_than_cells_are_even_over_cameras_and_over_vehicles(tmp_path: Path) -> None:
    cameras, vehicles = [f"c{number}" for number in range(5)], [f"{number:03d}" for number in range(8)]
    data = dataset(tmp_path, dict.fromkeys(product(cameras, vehicles), 2))
    for count in (5, 8, 16, 23, 40, 50):
        frames = select_frames(data, count, 0)
        assert spread((image.camera for image in frames.images), cameras) <= 1
        assert spread((image.vehicle for image in frames.images), vehicles) <= 1


def test_a_camera_with_few_vehicles_gives_as_many_as_one_with_many(tmp_path: Path) -> None:
    many = {("c1", f"{v:03d}"): 1 for v in range(30)}
    data = dataset(tmp_path, {**many, ("c2", "100"): 9, ("c2", "101"): 9, ("c2", "102"): 9, ("c2", "103"): 9})
    for seed in range(4):
        assert select_frames(data, 8, seed).facts.cameras == {"c1": 4, "c2": 4}


def test_the_choice_hangs_on_names_and_seed_alone_and_begins_as_a_larger_one(uneven: Dataset, tmp_path: Path) -> None:
    frames = select_frames(uneven, 30, 5)
    backwards = replace(uneven, train=Split(uneven.train.images[::-1]))
    assert names(select_frames(backwards, 30, 5)) == names(frames)
    assert names(select_frames(uneven, 12, 5)) == names(frames)[:12]
    assert set(names(select_frames(uneven, 30, 6))) != set(names(frames))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cells = Counter((str(image.camera), str(image.vehicle)) for image in uneven.train.images)
    assert select_frames(dataset(elsewhere, cells), 30, 5).facts == frames.facts


def test_facts_say_what_was_taken(uneven: Dataset) -> None:
    frames = select_frames(uneven, 11, 2, exclude_vehicles={"001", "004"})
    listing = "".join(f"{name}\n" for name in sorted(names(frames)))
    assert frames.facts == CalibrationFacts(
        split="train",
        requested=11,
        count=11,
        seed=2,
        cameras=Counter(str(image.camera) for image in frames.images),
        vehicles=len({image.vehicle for image in frames.images}),
        unreadable=0,
        names_sha256=hashlib.sha256(listing.encode()).hexdigest(),
    )
    assert not {"001", "004"} & {image.vehicle for image in frames.images}
    assert CalibrationFacts.model_validate_json(frames.facts.model_dump_json()) == frames.facts


def test_where_there_are_fewer_all_are_taken_and_the_facts_say_so(uneven: Dataset) -> None:
    facts = select_frames(uneven, 1000, 0).facts
    assert (facts.requested, facts.count) == (1000, len(uneven.train.images))


def test_unreadable_frames_are_named_and_others_take_their_place(tmp_path: Path) -> None:
    data = dataset(tmp_path, {("c1", "001"): 6, ("c2", "002"): 6})
    broken = [Path(str(image.frames[0])) for image in data.train.images[:5]]
    for path in broken:
        path.write_bytes(path.read_bytes()[:40])
    frames = select_frames(data, 7, 0)
    assert frames.facts.count == 7
    assert frames.facts.cameras == {"c1": 1, "c2": 6}
    assert frames.facts.unreadable == len(frames.unreadable) == 5
    assert all(any(str(path) in reason for reason in frames.unreadable) for path in broken)


def test_an_image_of_one_color_is_refused_by_name(tmp_path: Path) -> None:
    data = dataset(tmp_path, {("c1", "001"): 2})
    path = Path(str(data.train.images[1].frames[0]))
    cv2.imwrite(str(path), np.full((9, 7, 3), (9, 80, 200), np.uint8))
    with pytest.raises(DataError, match=f"{path.name} has a single color"):
        select_frames(data, 2, 0)


def test_an_empty_set_is_an_error_that_says_why(tmp_path: Path) -> None:
    data = dataset(tmp_path, {("c1", "001"): 2})
    for arguments, reason in (((0, 0), "0 asked for, of 2"), ((-1, 0), "-1 asked for")):
        with pytest.raises(DataError, match=reason):
            select_frames(data, *arguments)
    with pytest.raises(DataError, match="of 0"):
        select_frames(data, 5, 0, exclude_vehicles={"001"})
    with pytest.raises(DataError, match="needs the training split"):
        select_frames(replace(data, train=Split(), gallery=data.train), 5, 0)
    for image in data.train.images:
        Path(str(image.frames[0])).write_bytes(b"")
    with pytest.raises(DataError, match=r"the file is empty"):
        select_frames(data, 2, 0)


def test_batches_are_decoded_and_resized_as_inference_does(uneven: Dataset) -> None:
    frames = select_frames(uneven, 10, 0)
    batches = list(frames.batches(PREPROCESSING, 4))
    assert [batch.shape for batch in batches] == [(4, 3, 16, 24), (4, 3, 16, 24), (2, 3, 16, 24)]
    expected = [resize(read_frame(image.frames[0]), 16, 24).transpose(2, 0, 1) for image in frames.images]
    np.testing.assert_array_equal(np.concatenate(batches), expected)


def test_a_frame_that_vanished_since_is_an_error(uneven: Dataset) -> None:
    frames = select_frames(uneven, 3, 0)
    Path(str(frames.images[1].frames[0])).unlink()
    with pytest.raises(DataError, match=names(frames)[1]):
        list(frames.batches(PREPROCESSING))


def test_a_data_set_gives_training_images_only(veri: Path) -> None:
    frames = select_frames(open_calibration_data(veri), 20, 0)
    assert frames.facts.split == "train"
    assert {Path(str(image.frames[0])).parent for image in frames.images} == {veri / "image_train"}


@pytest.mark.parametrize("folder", ["image_query", "image_test"])
def test_evaluation_folders_are_refused_unless_told(veri: Path, tmp_path: Path, folder: str) -> None:
    link = tmp_path / "calibration"
    link.symlink_to(veri / folder)
    for root in (veri / folder, link):
        with pytest.raises(DataError, match=r"needs the training split.*--calibrate-on-evaluation-data"):
            open_calibration_data(root)
    dataset = open_calibration_data(veri / folder, allow_evaluation_data=True)
    frames = select_frames(dataset, 10_000, 0, allow_evaluation_data=True)
    assert frames.facts.split == "evaluation"
    assert set(names(frames)) == {path.name for path in (veri / folder).glob("*.jpg")}
    assert "unknown" not in frames.facts.cameras


def test_a_data_set_without_training_images_is_refused_unless_told(veri: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(veri, tmp_path / "veri", ignore=shutil.ignore_patterns("image_train", "*train*")))
    with pytest.raises(DataError, match="no training images in layout veri"):
        open_calibration_data(root)
    frames = select_frames(open_calibration_data(root, allow_evaluation_data=True), 9, 0, allow_evaluation_data=True)
    assert {Path(str(image.frames[0])).parent.name for image in frames.images} == {"image_test"}


def test_unlabeled_images_are_refused_unless_told(veri: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((veri / "image_train").glob("*.jpg"))[:5]):
        shutil.copyfile(path, tmp_path / f"crop{number}.jpg")
    with pytest.raises(DataError, match="needs the training split"):
        open_calibration_data(tmp_path)
    dataset = open_calibration_data(tmp_path, allow_evaluation_data=True)
    facts = select_frames(dataset, 5, 0, allow_evaluation_data=True).facts
    assert (facts.count, facts.vehicles, facts.cameras) == (5, 0, {"unknown": 5})


def test_a_data_set_in_a_folder_that_is_called_test_is_one(veri: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(veri, tmp_path / "test"))
    assert len(open_calibration_data(root).train.images) == len(read_dataset(veri).train.images)


def test_names_that_are_not_utf8_can_be_chosen(tmp_path: Path) -> None:
    plain = dataset(tmp_path, {("c1", "001"): 2})
    odd = tmp_path / os.fsdecode(b"caf\xe9.png")
    shutil.copy(str(plain.train.images[0].frames[0]), odd)
    data = replace(plain, train=Split((*plain.train.images, Tracklet(odd.stem, (odd,), "c2", "002"))))
    listed = sorted(os.fsencode(Path(str(image.frames[0])).name) for image in data.train.images)
    digest = hashlib.sha256(b"".join(name + b"\n" for name in listed)).hexdigest()
    assert select_frames(data, 9, 0).facts.names_sha256 == digest
