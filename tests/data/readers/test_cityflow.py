from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from special_files import reverse_listings

from reid.data.dataset import Problem
from reid.data.inspection import inspect
from reid.data.layout import read_dataset
from reid.runtime.tracklet import Tracklet

ITEM = re.compile(r'imageName="(\S+)" vehicleID="(\S+)" cameraID="(\S+)"')


def found(problems: Sequence[Problem]) -> dict[str, set[str]]:
    where: dict[str, set[str]] = defaultdict(set)
    for problem in problems:
        where[problem.kind].add(problem.where)
    return dict(where)


def labels_in(root: Path) -> dict[str, tuple[str, str]]:
    text = (root / "train_label.xml").read_bytes().decode("gb2312")
    return {name: (vehicle, camera) for name, vehicle, camera in ITEM.findall(text)}


def file_names(entries: Sequence[Tracklet]) -> list[str]:
    return [Path(str(entry.frames[0])).name for entry in entries]


def frames(tracklets: Sequence[Tracklet]) -> set[tuple[str, ...]]:
    return {tuple(Path(str(frame)).name for frame in tracklet.frames) for tracklet in tracklets}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode("gb2312")
    assert old in text
    path.write_bytes(text.replace(old, new).encode("gb2312"))


def test_train_and_gallery_hold_every_labeled_image_once_as_the_label_file_says(cityflow: Path) -> None:
    dataset = read_dataset(cityflow)
    assert dataset.layout == "cityflow"
    images = (*dataset.train.images, *dataset.gallery.images)
    assert {name: (image.vehicle, image.camera) for name, image in zip(file_names(images), images, strict=True)} == (
        labels_in(cityflow)
    )
    assert len(images) == len(labels_in(cityflow))
    tracks = {tuple(line.split()) for line in (cityflow / "train_track.txt").read_text().splitlines()}
    assert frames((*dataset.train.tracklets, *dataset.gallery.tracklets)) == tracks
    assert inspect(dataset).problems == ()


def test_evaluation_is_on_vehicles_that_training_does_not_see_and_every_query_has_an_answer(cityflow: Path) -> None:
    dataset = read_dataset(cityflow, "cityflow")
    train = {image.vehicle for image in dataset.train.images}
    assert train
    assert not train & {image.vehicle for image in dataset.gallery.images}
    assert dataset.query.images
    for query, own in zip(dataset.query.images, dataset.query.tracklets, strict=True):
        others = {image.camera for image in dataset.gallery.images if image.vehicle == query.vehicle} - {query.camera}
        assert others
        assert query.frames[0] in own.frames
    assert sorted(dataset.split_facts["vehicles"]) == sorted({str(i.vehicle) for i in dataset.gallery.images})


def test_the_same_folder_gives_the_same_split_whatever_the_order_of_its_files(
    cityflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = read_dataset(cityflow, "cityflow")
    reverse_listings(monkeypatch)
    backward = read_dataset(cityflow, "cityflow")
    assert forward.split_facts == backward.split_facts
    for split in ("train", "query", "gallery"):
        assert file_names(getattr(forward, split).images) == file_names(getattr(backward, split).images)
    assert forward.challenge is not None
    assert backward.challenge is not None
    assert file_names(forward.challenge.gallery) == file_names(backward.challenge.gallery)


def test_the_challenge_is_in_the_order_of_the_numbers_and_has_no_identities(cityflow_copy: Path) -> None:
    source = cityflow_copy / "image_test" / "000001.jpg"
    for number in (1000000, 99):  # longer than six digits, and shorter
        (cityflow_copy / "image_test" / f"{number}.jpg").write_bytes(source.read_bytes() + bytes([number % 256]))
    challenge = read_dataset(cityflow_copy, "cityflow").challenge
    assert challenge is not None
    for part, side in (("query", challenge.query), ("test", challenge.gallery)):
        on_disk = [path.name for path in (cityflow_copy / f"image_{part}").iterdir()]
        assert file_names(side) == sorted(on_disk, key=lambda name: (int(name.split(".")[0]), name))
        assert {image.vehicle for image in side} == {None}
    assert all(image.camera for image in challenge.query)  # query_label.xml gives cameras
    assert {image.camera for image in challenge.gallery} == {None}


def test_a_challenge_image_whose_name_is_no_number_cannot_be_submitted_and_is_reported(cityflow_copy: Path) -> None:
    (cityflow_copy / "image_test" / "copy.jpg").write_bytes((cityflow_copy / "image_test" / "000001.jpg").read_bytes())
    dataset = read_dataset(cityflow_copy, "cityflow")
    assert dataset.challenge is not None
    assert "copy.jpg" not in file_names(dataset.challenge.gallery)
    assert "image_test/copy.jpg" in found(dataset.problems)["unknown identity"]


def test_query_labels_and_name_lists_are_optional(cityflow_copy: Path) -> None:
    (cityflow_copy / "query_label.xml").unlink()
    dataset = read_dataset(cityflow_copy)
    assert dataset.problems == ()
    assert dataset.challenge is not None
    assert {image.camera for image in dataset.challenge.query} == {None}


@pytest.mark.parametrize("part", ["train", "query", "test"])
@pytest.mark.parametrize("with_name_lists", [False, True])
def test_every_deleted_image_is_named_once(cityflow_copy: Path, part: str, with_name_lists: bool) -> None:
    if with_name_lists:
        for folder in cityflow_copy.glob("image_*"):
            names = sorted(path.name for path in folder.iterdir())
            (cityflow_copy / folder.name.replace("image", "name")).with_suffix(".txt").write_text("\r\n".join(names))
    deleted = sorted((cityflow_copy / f"image_{part}").iterdir())[::5]
    for path in deleted:
        path.unlink()
    missing = Counter(
        problem.where for problem in read_dataset(cityflow_copy, "cityflow").problems if problem.kind == "missing file"
    )
    assert missing == Counter(f"image_{part}/{path.name}" for path in deleted)


def test_a_query_that_only_the_name_list_knows_is_reported_missing_and_one_that_it_leaves_out_too(
    cityflow_copy: Path,
) -> None:
    (cityflow_copy / "query_label.xml").unlink()
    names = sorted(path.name for path in (cityflow_copy / "image_query").iterdir())
    (cityflow_copy / "name_query.txt").write_text("\n".join(names[1:]))
    (cityflow_copy / "image_query" / names[-1]).unlink()
    assert found(read_dataset(cityflow_copy, "cityflow").problems) == {
        "missing file": {f"image_query/{names[-1]}"},
        "not in name list": {f"image_query/{names[0]}"},
    }


def test_a_training_image_without_a_label_is_left_out_and_reported(cityflow_copy: Path) -> None:
    edit(cityflow_copy / "train_label.xml", 'imageName="000007.jpg"', 'imageName="999999.jpg"')
    dataset = read_dataset(cityflow_copy, "cityflow")
    problems = found(dataset.problems)
    assert problems["not in label file"] == {"image_train/000007.jpg"}
    assert "image_train/999999.jpg" in problems["missing file"]
    assert "000007.jpg" not in file_names((*dataset.train.images, *dataset.gallery.images))


@pytest.mark.parametrize("attribute", ["vehicleID", "cameraID"])
@pytest.mark.parametrize("absent", [True, False])
def test_a_label_without_vehicle_or_camera_is_reported(cityflow_copy: Path, attribute: str, absent: bool) -> None:
    path = cityflow_copy / "train_label.xml"
    text = path.read_text()
    item = re.search(r'<Item imageName="000007.jpg".*?/>', text)
    assert item
    path.write_text(text.replace(item[0], re.sub(rf'{attribute}="\S+"', "" if absent else f'{attribute}=""', item[0])))
    dataset = read_dataset(cityflow_copy, "cityflow")
    assert found(dataset.problems)["unknown identity"] == {"image_train/000007.jpg"}
    assert "" not in {image.vehicle for image in (*dataset.train.images, *dataset.gallery.images)}


@pytest.mark.parametrize("name", ["train_label.xml", "train_track.txt", "test_track.txt"])
@pytest.mark.parametrize("damage", ["absent", "zero bytes"])
def test_any_list_may_be_missing(cityflow_copy: Path, name: str, damage: str) -> None:
    (cityflow_copy / name).unlink()
    if damage == "zero bytes":
        (cityflow_copy / name).touch()
    dataset = read_dataset(cityflow_copy)
    assert dataset.layout == "cityflow"
    problems = found(dataset.problems)
    assert name in problems["missing file" if damage == "absent" else "damaged list"]
    if name == "train_label.xml":
        assert not dataset.train.images  # nothing else says which vehicle a numbered image shows
        assert "empty split" in problems
        assert "not in label file" not in problems  # one line says it, not one an image
    else:
        assert set(problems) == {"missing file" if damage == "absent" else "damaged list"}
        assert dataset.train.images


def test_without_a_track_list_a_tracklet_is_what_one_camera_saw_of_a_vehicle(cityflow_copy: Path) -> None:
    (cityflow_copy / "train_track.txt").unlink()
    dataset = read_dataset(cityflow_copy, "cityflow")
    views: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, view in labels_in(cityflow_copy).items():
        views[view].append(name)
    expected = {tuple(sorted(names)) for names in views.values()}
    assert frames((*dataset.train.tracklets, *dataset.gallery.tracklets)) == expected


def test_track_lists_with_leading_track_numbers_give_the_same_tracklets(cityflow: Path, cityflow_copy: Path) -> None:
    for name in ("train_track.txt", "test_track.txt"):
        tracks = (cityflow_copy / name).read_text().splitlines()
        (cityflow_copy / name).write_text("\n".join(f"{number} {track}" for number, track in enumerate(tracks)))
    dataset = read_dataset(cityflow_copy, "cityflow")
    assert dataset.problems == ()
    assert frames(dataset.train.tracklets) == frames(read_dataset(cityflow, "cityflow").train.tracklets)


def test_mixed_repeated_and_unknown_frames_in_the_training_tracks_are_reported(cityflow_copy: Path) -> None:
    path = cityflow_copy / "train_track.txt"
    first, *rest = path.read_text().splitlines()
    stranger = rest[-1].split()[0]
    path.write_text("\n".join([f"{first} {stranger} 888888.jpg", *rest[:-1]]))
    problems = read_dataset(cityflow_copy, "cityflow").problems
    kinds = found(problems)
    assert kinds["mixed track"] == {"train_track.txt"}
    assert kinds["missing file"] == {"image_train/888888.jpg"}
    assert kinds["not in a track"] == {f"image_train/{name}" for name in rest[-1].split()[1:]}


def test_too_few_vehicles_for_a_split_leave_all_for_training_and_say_so(cityflow_copy: Path) -> None:
    vehicles = sorted({vehicle for vehicle, _ in labels_in(cityflow_copy).values()})
    for name, (vehicle, _) in labels_in(cityflow_copy).items():
        if vehicle not in vehicles[:3]:
            (cityflow_copy / "image_train" / name).unlink()
    dataset = read_dataset(cityflow_copy, "cityflow")
    assert {image.vehicle for image in dataset.train.images} == set(vehicles[:3])
    assert not dataset.query.images
    assert found(dataset.problems)["empty split"] == {"image_train"}


def test_images_without_a_label_are_not_called_missing(cityflow_copy: Path) -> None:
    label_file = cityflow_copy / "train_label.xml"
    content = label_file.read_bytes()
    label_file.write_bytes(content[: len(content) // 2])
    problems = read_dataset(cityflow_copy).problems
    assert found(problems)["not in label file"]
    assert not any((cityflow_copy / where).exists() for where in found(problems).get("missing file", ()))


def test_a_query_whose_track_is_lost_is_its_own_tracklet_since_numbers_tell_no_time(cityflow_copy: Path) -> None:
    whole = read_dataset(cityflow_copy)
    lost = {Path(str(frame)).name for own in whole.query.tracklets[::2] for frame in own.frames}
    track_file = cityflow_copy / "train_track.txt"
    kept = [line for line in track_file.read_text().splitlines() if not lost & set(line.split())]
    track_file.write_text("\n".join(kept))
    dataset = read_dataset(cityflow_copy)
    for image, own in zip(dataset.query.images, dataset.query.tracklets, strict=True):
        if Path(str(image.frames[0])).name in lost:
            assert own is image
        else:
            assert image.frames[0] in own.frames
