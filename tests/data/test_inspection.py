from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording import Recorder, Stage
from special_files import SPECIAL, make_special

from reid.data.dataset import Problem
from reid.data.inspection import Counts, Inspection, inspect
from reid.data.layout import read_dataset
from reid.runtime.errors import DataError, ReidError


def found(inspection: Inspection) -> dict[str, set[str]]:
    where: dict[str, set[str]] = defaultdict(set)
    for problem in inspection.problems:
        where[problem.kind].add(problem.where)
    return dict(where)


def duplicates(problems: Sequence[Problem]) -> list[set[str]]:
    return [
        {problem.where, problem.detail.removeprefix("same content as ")}
        for problem in problems
        if problem.kind == "duplicate"
    ]


def names(root: Path, part: str) -> list[str]:
    return (root / f"name_{part}.txt").read_text().split()


def image(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1])


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Two training vehicles, two test vehicles, two cameras; all images differ; the queries are copies."""
    root = tmp_path / "flat"
    for vehicle in (1, 2, 3, 4):
        for camera in (1, 2):
            for time in (0, 5):
                name = f"{vehicle:04d}_c{camera:03d}_{time:08d}_0.png"
                part = "train" if vehicle < 3 else "gallery"
                write(root / part / name, image(100 * vehicle + 10 * camera + time))
                if part == "gallery" and time == 0:
                    write(root / "query" / name, (root / part / name).read_bytes())
    return root


def test_counts_agree_with_a_count_of_the_files(veri: Path) -> None:
    inspection = inspect(read_dataset(veri))
    for split, part in (("train", "train"), ("query", "query"), ("gallery", "test")):
        listed = [name.split("_")[:2] for name in names(veri, part)]
        counts = inspection.splits[split]
        assert counts.images == len(listed)
        assert counts.identities == len({vehicle for vehicle, _ in listed})
        assert counts.cameras == len({camera for _, camera in listed})
    assert inspection.splits["gallery"].tracklets == len((veri / "test_track.txt").read_text().splitlines())
    assert inspection.layout == "veri"


def test_counts_of_a_small_flat_set(flat: Path) -> None:
    assert inspect(read_dataset(flat)) == Inspection(
        "flat",
        {"train": Counts(2, 2, 8, 4), "query": Counts(2, 2, 4, 4), "gallery": Counts(2, 2, 8, 4)},
        (),
    )


def test_the_challenge_of_cityflow_is_counted_and_opened(cityflow_copy: Path) -> None:
    (cityflow_copy / "image_query" / "000003.jpg").write_bytes(b"")
    (cityflow_copy / "image_test" / "000004.jpg").write_bytes(b"no image")
    inspection = inspect(read_dataset(cityflow_copy))
    for split, part in (("challenge query", "query"), ("challenge gallery", "test")):
        assert inspection.splits[split].images == len(list((cityflow_copy / f"image_{part}").iterdir()))
        assert inspection.splits[split].identities == 0
    assert found(inspection) == {"unreadable image": {"image_query/000003.jpg", "image_test/000004.jpg"}}


def test_progress_tells_each_image_once_and_ends_at_the_total(flat: Path) -> None:
    progress = Recorder()
    inspect(read_dataset(flat), progress)
    assert progress.stages == [Stage("opening", 20, "images", [1] * 20)]


@pytest.mark.parametrize("part", ["train", "query", "gallery"])
@pytest.mark.parametrize("damage", ["empty", "cut", "text", "folder", "dangling link"])
def test_an_unreadable_image_is_named_with_a_reason(flat: Path, part: str, damage: str) -> None:
    path = sorted((flat / part).iterdir())[1]
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "dangling link":
        path.symlink_to(flat / "gone.png")
    else:
        path.write_bytes({"empty": b"", "cut": content[:-30], "text": b"<html>404</html>"}[damage])
    inspection = inspect(read_dataset(flat))
    (problem,) = inspection.problems
    assert (problem.kind, problem.where) == ("unreadable image", f"{part}/{path.name}")
    assert problem.detail
    assert str(flat) not in problem.detail


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_an_unreadable_image(flat: Path, kind: str) -> None:
    path = sorted((flat / "gallery").iterdir())[1]
    path.unlink()
    make_special(path, kind)
    (problem,) = inspect(read_dataset(flat)).problems
    assert (problem.kind, problem.where) == ("unreadable image", f"gallery/{path.name}")
    assert SPECIAL[kind] in problem.detail


def test_an_image_with_too_many_pixels_is_unreadable_and_a_wrong_limit_is_an_error(
    flat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sorted((flat / "gallery").iterdir())[1]
    path.write_bytes(bytes(cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1]))
    monkeypatch.setenv("REID_MAX_PIXELS", "599")
    detail = "30 x 20 pixels, more than the 599 of --max-pixels; raise it or shrink the image"
    assert inspect(read_dataset(flat)).problems == (Problem("unreadable image", f"gallery/{path.name}", detail),)
    monkeypatch.setenv("REID_MAX_PIXELS", "many")
    with pytest.raises(ReidError, match=r"^REID_MAX_PIXELS is 'many'") as raised:
        inspect(read_dataset(flat))
    assert not isinstance(raised.value, DataError)


def test_an_unreadable_frame_of_a_query_tracklet_that_is_not_its_query_image_is_named(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "query", "gallery")):
        for index in range(3):
            write(tmp_path / part / f"v{part}" / "c1_0" / f"{index}.png", image(10 * number + index))
    for index in (0, 1, 2):
        (tmp_path / "query" / "vquery" / "c1_0" / f"{index}.png").write_bytes(b"")
    expected = {f"query/vquery/c1_0/{index}.png" for index in range(3)}
    assert found(inspect(read_dataset(tmp_path))) == {"unreadable image": expected}


def test_the_same_bytes_under_two_names_in_one_split_are_a_duplicate(flat: Path) -> None:
    for part in ("train", "gallery"):
        first, *_, last = sorted((flat / part).iterdir())
        last.write_bytes(first.read_bytes())
    for query in (flat / "query").iterdir():
        query.write_bytes((flat / "gallery" / query.name).read_bytes())
    pairs = duplicates(inspect(read_dataset(flat)).problems)
    for part in ("train", "gallery"):
        first, *_, last = sorted((flat / part).iterdir())
        assert {f"{part}/{first.name}", f"{part}/{last.name}"} in pairs
    assert sum(all(name.startswith("train/") for name in pair) for pair in pairs) == 1
    assert sum(all(name.startswith("gallery/") for name in pair) for pair in pairs) == 1


def test_the_same_bytes_in_train_and_test_are_a_duplicate(flat: Path) -> None:
    train = sorted((flat / "train").iterdir())[0]
    for part in ("gallery", "query"):
        (flat / part / "0003_c001_00000000_0.png").write_bytes(train.read_bytes())
    pairs = duplicates(inspect(read_dataset(flat)).problems)
    assert {f"train/{train.name}", "gallery/0003_c001_00000000_0.png"} in pairs
    assert {f"train/{train.name}", "query/0003_c001_00000000_0.png"} in pairs
    assert len(pairs) == 2


def test_a_querys_copy_in_the_gallery_is_no_problem_but_under_another_camera_it_is_a_duplicate(flat: Path) -> None:
    query = flat / "query" / "0003_c001_00000000_0.png"
    assert query.read_bytes() == (flat / "gallery" / query.name).read_bytes()
    assert inspect(read_dataset(flat)).problems == ()
    (flat / "gallery" / query.name).write_bytes(image(999))
    (flat / "gallery" / "0003_c002_00000005_0.png").write_bytes(query.read_bytes())
    pairs = duplicates(inspect(read_dataset(flat)).problems)
    assert pairs == [{f"query/{query.name}", "gallery/0003_c002_00000005_0.png"}]


def test_a_duplicate_of_a_held_out_query_is_found(flat: Path) -> None:
    """Here the query is itself an image of the gallery, not a copy of one."""
    shutil.rmtree(flat / "query")
    for path in (flat / "gallery").iterdir():
        path.rename(flat / "train" / path.name)
    (flat / "gallery").rmdir()
    dataset = read_dataset(flat)
    query = dataset.query.images[0].frames[0]
    other = next(i.frames[0] for i in dataset.gallery.images if i.frames[0] != query)
    assert isinstance(query, Path)
    assert isinstance(other, Path)
    other.write_bytes(query.read_bytes())
    expected = {path.relative_to(flat).as_posix() for path in (query, other)}
    assert duplicates(inspect(read_dataset(flat)).problems) == [expected]


def test_an_image_listed_through_a_link_is_a_duplicate_of_its_target(flat: Path) -> None:
    target = sorted((flat / "train").iterdir())[0]
    link = flat / "train" / "0001_c001_00000099_0.png"
    link.symlink_to(target)
    assert duplicates(inspect(read_dataset(flat)).problems) == [{f"train/{target.name}", f"train/{link.name}"}]


def test_an_identity_in_train_and_test_is_named(veri_copy: Path) -> None:
    name = names(veri_copy, "test")[0]
    vehicle = name.split("_")[0]
    stray = f"{vehicle}_c001_99999999_0.jpg"
    write(veri_copy / "image_train" / stray, bytes(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1]))
    problems = found(inspect(read_dataset(veri_copy)))
    assert problems["identity in train and test"] == {vehicle}
    assert problems["not in label file"] == problems["not in name list"] == {f"image_train/{stray}"}


def test_many_copies_of_one_image_are_each_named_once(tmp_path: Path) -> None:
    content = image(0)
    for vehicle in range(1, 5):
        for camera in (1, 2):
            for time in range(60):
                write(tmp_path / f"{vehicle:04d}_c{camera:03d}_{time:08d}_0.png", content)
    inspection = inspect(read_dataset(tmp_path))
    where = [problem.where for problem in inspection.problems if problem.kind == "duplicate"]
    assert len(where) == len(set(where)) == 4 * 2 * 60 - 1


def copy_of_lists_and_links_to_images(source: Path, target: Path) -> Path:
    def copy(old: str, new: str) -> None:
        (os.link if old.endswith(".jpg") else shutil.copyfile)(old, new)

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=copy)
    return target


DAMAGES = ["delete", "cut", "empty", "text", "folder", "dangling link", "garbage"]


def do_damage(path: Path, damage: str, data: st.DataObject) -> None:
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 3))])
    elif damage == "garbage":
        start = data.draw(st.integers(0, len(content) - 1))
        middle = data.draw(st.binary(min_size=1, max_size=40))
        path.write_bytes(content[:start] + middle + content[start + data.draw(st.integers(0, 200)) :])
    elif damage == "empty":
        path.touch()
    elif damage == "folder":
        path.mkdir()
    elif damage == "text":
        path.write_text("<html><body>404 Not Found</body></html>")
    elif damage == "dangling link":
        path.symlink_to(path.parent / "gone")


@pytest.mark.parametrize("layout", ["veri", "cityflow"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_damaged_there_is_a_list_of_problems_or_a_data_error_and_every_lost_image_is_named(
    request: pytest.FixtureRequest, tmp_path: Path, layout: str, data: st.DataObject
) -> None:
    source: Path = request.getfixturevalue(layout)
    files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
    images = [name for name in files if "/" in name]
    lists = [name for name in files if "/" not in name]
    root = copy_of_lists_and_links_to_images(source, tmp_path / layout)
    with_lists = data.draw(st.booleans())
    chosen = st.lists(st.sampled_from(images), max_size=6, unique=True)
    targets = data.draw(chosen) + (data.draw(st.lists(st.sampled_from(lists), unique=True)) if with_lists else [])
    lost = set()
    for name in targets:
        damage = data.draw(st.sampled_from(DAMAGES), label=name)
        do_damage(root / name, damage, data)
        if "/" in name and damage != "garbage":  # which a decoder may survive
            lost.add(name)
    try:
        inspection = inspect(read_dataset(root))
    except DataError:
        assert with_lists
        return
    if not with_lists:
        problems = found(inspection)
        assert lost <= problems.get("missing file", set()) | problems.get("unreadable image", set())
        assert inspection.layout == layout
