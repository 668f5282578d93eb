from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from special_files import reverse_listings

from reid.data.dataset import Problem
from reid.data.inspection import inspect
from reid.data.layout import read_dataset
from reid.data.tracks import own_tracklets
from reid.runtime.tracklet import Tracklet

LISTS = ("name_train.txt", "name_query.txt", "name_test.txt", "train_label.xml", "test_label.xml", "test_track.txt")


def found(problems: Sequence[Problem]) -> dict[str, set[str]]:
    """Where each kind of problem was met."""
    where: dict[str, set[str]] = defaultdict(set)
    for problem in problems:
        where[problem.kind].add(problem.where)
    return dict(where)


def file_names(entries: Sequence[Tracklet]) -> list[str]:
    return [Path(str(entry.frames[0])).name for entry in entries]


def frames(tracklets: Sequence[Tracklet]) -> set[tuple[str, ...]]:
    return {tuple(Path(str(frame)).name for frame in tracklet.frames) for tracklet in tracklets}


def lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1]


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode("gb2312")
    assert old in text
    path.write_bytes(text.replace(old, new).encode("gb2312"))


def test_a_whole_set_is_read_as_its_lists_say_and_has_no_problems(veri: Path) -> None:
    dataset = read_dataset(veri, "veri")
    for split, part in ((dataset.train, "train"), (dataset.query, "query"), (dataset.gallery, "test")):
        names = lines(veri / f"name_{part}.txt")
        assert sorted(file_names(split.images)) == sorted(names)
        for image in split.images:
            (frame,) = image.frames
            assert isinstance(frame, Path)
            assert frame.parent == veri / f"image_{part}"
            assert f"{image.vehicle}_{image.camera}_" == frame.name[: len("0001_c001_")]
    assert frames(dataset.gallery.tracklets) == {tuple(line.split()) for line in lines(veri / "test_track.txt")}
    assert len(dataset.query.tracklets) == len(dataset.query.images)
    assert inspect(dataset).problems == ()


@pytest.mark.parametrize("naming", ["a name of its own", "its first image", "its last image"])
def test_the_other_form_of_the_track_list_gives_the_same_tracklets(veri: Path, veri_copy: Path, naming: str) -> None:
    path = veri_copy / "test_track.txt"
    leading = {
        "a name of its own": lambda words: "_".join(words[0].split("_")[:2]),
        "its first image": lambda words: words[0],
        "its last image": lambda words: words[-1],
    }[naming]
    path.write_bytes(b"".join(f"{leading(line.split())} {line} \r\n".encode() for line in lines(path)))
    with_names, without = read_dataset(veri_copy, "veri"), read_dataset(veri, "veri")
    assert frames(with_names.gallery.tracklets) == frames(without.gallery.tracklets)
    assert [t.vehicle for t in with_names.gallery.tracklets] == [t.vehicle for t in without.gallery.tracklets]
    assert with_names.problems == ()


def test_windows_line_ends_and_a_byte_order_mark_in_every_list_change_nothing(veri: Path, veri_copy: Path) -> None:
    for name in LISTS:
        text = (veri_copy / name).read_bytes().decode("gb2312")
        (veri_copy / name).write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    changed, original = read_dataset(veri_copy, "veri"), read_dataset(veri, "veri")
    assert changed.problems == ()
    for split in ("train", "query", "gallery"):
        assert file_names(getattr(changed, split).images) == file_names(getattr(original, split).images)
        assert frames(getattr(changed, split).tracklets) == frames(getattr(original, split).tracklets)


@pytest.mark.parametrize("part", ["train", "query", "test"])
def test_every_deleted_image_is_named_once(veri_copy: Path, part: str) -> None:
    deleted = lines(veri_copy / f"name_{part}.txt")[::4]
    for name in deleted:
        (veri_copy / f"image_{part}" / name).unlink()
    missing = [problem.where for problem in read_dataset(veri_copy, "veri").problems if problem.kind == "missing file"]
    assert sorted(missing) == sorted(f"image_{part}/{name}" for name in deleted)


def test_an_image_that_only_the_label_file_or_only_the_track_list_names_is_reported_missing(veri_copy: Path) -> None:
    labeled = lines(veri_copy / "name_train.txt")[3]
    tracked = lines(veri_copy / "name_test.txt")[3]
    for part, name in (("train", labeled), ("test", tracked)):
        (veri_copy / f"image_{part}" / name).unlink()
        names = veri_copy / f"name_{part}.txt"
        names.write_text(names.read_text().replace(f"{name}\n", ""))
    replace_in(veri_copy / "test_label.xml", f'imageName="{tracked}"', 'imageName="other.jpg"')
    missing = found(read_dataset(veri_copy, "veri").problems)["missing file"]
    assert missing == {f"image_train/{labeled}", f"image_test/{tracked}", "image_test/other.jpg"}


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_image_without_a_label_keeps_what_its_name_says_and_is_reported(veri_copy: Path, part: str) -> None:
    name = lines(veri_copy / f"name_{part}.txt")[5]
    replace_in(veri_copy / f"{part}_label.xml", f'imageName="{name}"', 'imageName="nowhere.jpg"')
    dataset = read_dataset(veri_copy, "veri")
    problems = found(dataset.problems)
    assert f"image_{part}/{name}" in problems["not in label file"]
    assert f"image_{part}/nowhere.jpg" in problems["missing file"]
    split = dataset.train if part == "train" else dataset.gallery
    image = split.images[file_names(split.images).index(name)]
    assert [image.vehicle, image.camera] == name.split("_")[:2]


def test_a_query_without_a_label_is_reported(veri_copy: Path) -> None:
    name = lines(veri_copy / "name_query.txt")[2]
    replace_in(veri_copy / "test_label.xml", f'imageName="{name}"', 'imageName="nowhere.jpg"')
    assert f"image_query/{name}" in found(read_dataset(veri_copy, "veri").problems)["not in label file"]


def test_an_image_that_the_name_list_leaves_out_is_used_and_reported(veri_copy: Path) -> None:
    names = lines(veri_copy / "name_train.txt")
    (veri_copy / "name_train.txt").write_text("\n".join(names[1:]))
    dataset = read_dataset(veri_copy, "veri")
    assert found(dataset.problems) == {"not in name list": {f"image_train/{names[0]}"}}
    assert names[0] in file_names(dataset.train.images)


def test_where_label_and_name_disagree_the_label_is_used_and_the_image_is_reported(veri_copy: Path) -> None:
    name = lines(veri_copy / "name_train.txt")[0]
    vehicle = name.split("_")[0]
    replace_in(
        veri_copy / "train_label.xml",
        f'imageName="{name}" vehicleID="{vehicle}"',
        f'imageName="{name}" vehicleID="0776"',
    )
    dataset = read_dataset(veri_copy, "veri")
    assert found(dataset.problems) == {"label and name disagree": {f"image_train/{name}"}}
    assert dataset.train.images[file_names(dataset.train.images).index(name)].vehicle == "0776"


def test_a_label_without_camera_is_completed_by_the_name(veri_copy: Path) -> None:
    name = lines(veri_copy / "name_train.txt")[0]
    vehicle, camera, *_ = name.split("_")
    old = f'imageName="{name}" vehicleID="{vehicle}" cameraID="{camera}"'
    replace_in(veri_copy / "train_label.xml", old, f'imageName="{name}" vehicleID="{vehicle}" cameraID=""')
    dataset = read_dataset(veri_copy, "veri")
    assert dataset.problems == ()
    assert dataset.train.images[file_names(dataset.train.images).index(name)].camera == camera


def test_an_image_with_neither_label_nor_telling_name_is_left_out_and_reported(veri_copy: Path) -> None:
    stray = veri_copy / "image_train" / "holiday.jpg"
    shutil.copyfile(next((veri_copy / "image_train").iterdir()), stray)
    dataset = read_dataset(veri_copy, "veri")
    assert "image_train/holiday.jpg" in found(dataset.problems)["unknown identity"]
    assert stray.name not in file_names(dataset.train.images)


def test_a_name_in_other_case_is_reported_as_missing_and_as_not_listed_and_the_image_is_used(veri_copy: Path) -> None:
    name = lines(veri_copy / "name_test.txt")[1]
    shouted = Path(name).with_suffix(".JPG").name
    (veri_copy / "image_test" / name).rename(veri_copy / "image_test" / shouted)
    dataset = read_dataset(veri_copy, "veri")
    problems = found(dataset.problems)
    assert problems["missing file"] == {f"image_test/{name}"}
    assert problems["not in name list"] == {f"image_test/{shouted}"}
    assert shouted in file_names(dataset.gallery.images)


@pytest.mark.parametrize("damage", ["absent", "zero bytes", "a folder"])
@pytest.mark.parametrize("name", LISTS)
def test_any_list_may_be_missing_and_the_images_are_still_read(
    veri: Path, veri_copy: Path, name: str, damage: str
) -> None:
    (veri_copy / name).unlink()
    if damage == "zero bytes":
        (veri_copy / name).touch()
    elif damage == "a folder":
        (veri_copy / name).mkdir()
    dataset = read_dataset(veri_copy)
    assert dataset.layout == "veri"
    assert found(dataset.problems) == {"missing file" if damage == "absent" else "damaged list": {name}}
    for split in ("train", "query", "gallery"):
        assert file_names(getattr(dataset, split).images) == file_names(
            getattr(read_dataset(veri, "veri"), split).images
        )
    assert dataset.gallery.tracklets


def test_without_a_track_list_a_tracklet_is_what_one_camera_saw_of_a_vehicle_in_order_of_time(veri_copy: Path) -> None:
    (veri_copy / "test_track.txt").unlink()
    views: dict[str, list[str]] = defaultdict(list)
    for name in lines(veri_copy / "name_test.txt"):
        views[name[: len("0001_c001")]].append(name)
    expected = {tuple(sorted(names, key=lambda name: int(name.split("_")[2]))) for names in views.values()}
    assert frames(read_dataset(veri_copy, "veri").gallery.tracklets) == expected


@pytest.mark.parametrize("part", ["train", "query", "test"])
@pytest.mark.parametrize("instead", ["nothing", "an empty folder", "a file"])
def test_a_missing_image_folder_is_an_empty_split_and_each_of_its_images_is_named(
    veri_copy: Path, part: str, instead: str
) -> None:
    folder = veri_copy / f"image_{part}"
    names = lines(veri_copy / f"name_{part}.txt")
    shutil.rmtree(folder)
    if instead == "an empty folder":
        folder.mkdir()
    elif instead == "a file":
        folder.write_text("not unpacked")
    problems = found(read_dataset(veri_copy).problems)
    assert problems["empty split"] == {folder.name}
    assert problems["missing file"] == {f"{folder.name}/{name}" for name in names}


def test_a_track_of_two_vehicles_keeps_the_frames_of_its_first_and_is_reported(veri_copy: Path) -> None:
    path = veri_copy / "test_track.txt"
    tracks = [line.split() for line in lines(path)]
    stranger = next(names[0] for names in tracks if names[0][:4] != tracks[0][0][:4])
    path.write_text("\n".join(" ".join(names) for names in [[*tracks[0], stranger], *tracks[1:]]))
    dataset = read_dataset(veri_copy, "veri")
    assert frames(dataset.gallery.tracklets) == {tuple(names) for names in tracks}
    kinds = found(dataset.problems)
    assert kinds == {"mixed track": {"test_track.txt"}, "duplicate": {"test_track.txt"}}
    assert any(stranger in problem.detail for problem in dataset.problems if problem.kind == "duplicate")


def test_an_image_that_is_in_no_track_is_reported(veri_copy: Path) -> None:
    path = veri_copy / "test_track.txt"
    tracks = lines(path)
    path.write_text("\n".join(tracks[1:]))
    assert found(read_dataset(veri_copy, "veri").problems) == {
        "not in a track": {f"image_test/{name}" for name in tracks[0].split()}
    }


def test_a_folder_that_is_a_link_is_read_like_a_folder(veri: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in veri.iterdir():
        (linked / path.name).symlink_to(path)
    (tmp_path / "again").symlink_to(linked)
    inspection = inspect(read_dataset(tmp_path / "again"))
    assert inspection.problems == ()
    assert inspection.splits == inspect(read_dataset(veri)).splits


def test_the_order_in_which_the_file_system_lists_files_does_not_matter(
    veri: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = read_dataset(veri, "veri")
    reverse_listings(monkeypatch)
    backward = read_dataset(veri, "veri")
    for split in ("train", "query", "gallery"):
        assert [i.id for i in getattr(forward, split).images] == [i.id for i in getattr(backward, split).images]
        assert [t.id for t in getattr(forward, split).tracklets] == [t.id for t in getattr(backward, split).tracklets]


# ---- the query's own tracklet ----


def naive_own_tracklet(query: Tracklet, gallery: Sequence[Tracklet]) -> Tracklet:
    name = Path(str(query.frames[0])).name
    moment = int(re.findall(r"_(\d+)_", name)[0])
    best, best_gap = query, None
    for tracklet in gallery:
        if tracklet.vehicle != query.vehicle or tracklet.camera != query.camera:
            continue
        names = [Path(str(frame)).name for frame in tracklet.frames]
        if name in names:
            return tracklet
        for other in names:
            gap = abs(int(re.findall(r"_(\d+)_", other)[0]) - moment)
            if best_gap is None or gap < best_gap:
                best, best_gap = tracklet, gap
    return best


views = st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(0, 40))


def image(folder: str, vehicle: int, camera: int, time: int) -> Tracklet:
    path = Path(folder, f"{vehicle:04d}_c{camera:03d}_{time:08d}_0.jpg")
    return Tracklet(path.stem, (path,), f"c{camera:03d}", f"{vehicle:04d}")


@given(st.lists(views, max_size=12, unique=True), st.lists(views, min_size=1, max_size=5), st.integers(1, 4))
def test_own_tracklets_equal_a_naive_search(
    seen: list[tuple[int, int, int]], asked: list[tuple[int, int, int]], length: int
) -> None:
    groups: dict[tuple[int, int, int], list[Tracklet]] = defaultdict(list)
    for vehicle, camera, time in seen:
        groups[vehicle, camera, time // (10 * length)].append(image("image_test", vehicle, camera, time))
    tracklets = [
        Tracklet(str(key), tuple(member.frames[0] for member in members), members[0].camera, members[0].vehicle)
        for key, members in groups.items()
    ]
    queries = [image("image_query", *view) for view in asked]
    assert list(own_tracklets(queries, tracklets)) == [naive_own_tracklet(query, tracklets) for query in queries]


def test_every_own_tracklet_of_a_whole_set_holds_its_query(veri: Path) -> None:
    dataset = read_dataset(veri, "veri")
    for query, own in zip(dataset.query.images, dataset.query.tracklets, strict=True):
        assert Path(str(query.frames[0])).name in {Path(str(frame)).name for frame in own.frames}
        assert own is naive_own_tracklet(query, dataset.gallery.tracklets)


def test_the_tracklet_that_holds_the_query_wins_over_one_with_a_frame_of_the_same_time() -> None:
    query = image("image_query", 1, 1, 50)
    twin = Path("image_test", "0001_c001_00000050_9.jpg")
    other = Tracklet("other", (twin,), "c001", "0001")
    holder = Tracklet("holder", image("image_test", 1, 1, 50).frames, "c001", "0001")
    assert own_tracklets([query], [other, holder]) == (holder,)


def test_the_tracklet_that_holds_the_very_file_wins_over_one_with_a_file_of_the_same_name() -> None:
    first, second = (Tracklet(track, (Path("7", track, "000.jpg"),), "c1", "7") for track in ("c1_0", "c1_1"))
    query = Tracklet("q", (Path("7", "c1_1", "000.jpg"),), "c1", "7")
    assert own_tracklets([query], [first, second]) == (second,)


def test_times_of_another_recording_do_not_count_as_near() -> None:
    def market(sequence: int, frame: int) -> Path:
        return Path(f"0002_c1s{sequence}_{frame:06d}_00.jpg")

    same = Tracklet("same", (market(1, 900),), "c1", "0002")
    other = Tracklet("other", (market(2, 101),), "c1", "0002")
    query = Tracklet("q", (market(1, 100),), "c1", "0002")
    assert own_tracklets([query], [other, same]) == (same,)


def test_a_set_of_50_000_images_is_read_in_seconds(tmp_path: Path) -> None:
    root = tmp_path / "large"
    parts = {"train": range(1, 577), "test": range(577, 777)}
    for part, vehicles in parts.items():
        (root / f"image_{part}").mkdir(parents=True)
        tracks = [
            [f"{vehicle:04d}_c{camera:03d}_{1000 * camera + 5 * index:08d}_{index}.jpg" for index in range(13)]
            for vehicle in vehicles
            for camera in range(1, 6)
        ]
        names = [name for track in tracks for name in track]
        for name in names:
            (root / f"image_{part}" / name).touch()
        items = (
            f'<Item imageName="{name}" vehicleID="{name[:4]}" cameraID="{name[5:9]}" colorID="1"/>' for name in names
        )
        (root / f"{part}_label.xml").write_text("<Images><Items>" + "\n".join(items) + "</Items></Images>")
        (root / f"name_{part}.txt").write_text("\n".join(names))
        (root / f"{part}_track.txt").write_text("\n".join(map(" ".join, tracks)))
    (root / "train_track.txt").unlink()
    (root / "image_query").mkdir()
    for name in names[::7]:
        (root / "image_query" / name).touch()
    (root / "name_query.txt").write_text("\n".join(names[::7]))
    start = process_time()
    dataset = read_dataset(root)
    seconds = process_time() - start
    assert len(dataset.train.images) + len(dataset.gallery.images) == 776 * 5 * 13
    assert dataset.problems == ()
    assert seconds < 10
