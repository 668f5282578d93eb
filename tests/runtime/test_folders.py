from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from special_files import SPECIAL, forbid, make_special, reverse_listings

from reid.runtime.errors import DataError
from reid.runtime.folders import read_folder


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(root: Path) -> dict[str, list[str]]:
    """The files of each tracklet, by its id."""
    return {
        tracklet.id: [Path(str(frame)).relative_to(root).as_posix() for frame in tracklet.frames]
        for tracklet in read_folder(root)
    }


def labels(root: Path) -> dict[str, tuple[str | None, str | None]]:
    return {tracklet.id: (tracklet.vehicle, tracklet.camera) for tracklet in read_folder(root)}


def test_a_sub_folder_is_a_tracklet_and_a_loose_image_a_tracklet_of_one_frame(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.JPG", "car/2.png", "car/1.png", "notes.txt", "car/notes.txt", "deep/er/1.webp")
    assert listed(tmp_path) == {
        "a.JPG": ["a.JPG"],
        "b.jpg": ["b.jpg"],
        "car": ["car/1.png", "car/2.png"],
        "deep/er": ["deep/er/1.webp"],
    }


def test_a_folder_that_holds_images_and_folders_gives_a_tracklet_for_each(tmp_path: Path) -> None:
    touch(tmp_path, "car/1.png", "car/night/1.png")
    assert listed(tmp_path) == {"car": ["car/1.png"], "car/night": ["car/night/1.png"]}


def test_the_order_is_by_name_whatever_the_file_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "c.jpg", "a.jpg", "b.jpg", "y/1.jpg", "x/2.jpg", "x/1.jpg")
    forward = listed(tmp_path)
    reverse_listings(monkeypatch)
    assert list(listed(tmp_path).items()) == list(forward.items())
    assert list(forward) == ["a.jpg", "b.jpg", "c.jpg", "x", "y"]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", ".hidden.jpg", ".cache/1.jpg", "car/.1.jpg", "car/1.jpg")
    assert set(listed(tmp_path)) == {"a.jpg", "car"}
    assert listed(tmp_path)["car"] == ["car/1.jpg"]


def test_links_to_folders_and_images_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/1.jpg", "store/2.jpg")
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    (gallery / "car").symlink_to(tmp_path / "store")
    (gallery / "again").symlink_to(tmp_path / "store")
    (gallery / "one.jpg").symlink_to(tmp_path / "store" / "1.jpg")
    expected = {"one.jpg": ["one.jpg"], "again": ["again/1.jpg", "again/2.jpg"], "car": ["car/1.jpg", "car/2.jpg"]}
    assert listed(gallery) == expected
    (tmp_path / "link").symlink_to(gallery)
    assert listed(tmp_path / "link") == expected


def test_a_link_that_leads_back_up_does_not_run_forever(tmp_path: Path) -> None:
    touch(tmp_path, "car/1.jpg")
    (tmp_path / "car" / "up").symlink_to(tmp_path)
    (tmp_path / "car" / "self").symlink_to(tmp_path / "car")
    assert listed(tmp_path) == {"car": ["car/1.jpg"]}


def test_a_dangling_link_stays_in_the_list_to_be_counted_as_unreadable(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert listed(tmp_path) == {"gone.jpg": ["gone.jpg"]}


@pytest.mark.parametrize("kind", sorted(SPECIAL.keys() - {"folder"}))
def test_what_is_no_file_stays_in_the_list_to_be_counted_as_unreadable(tmp_path: Path, kind: str) -> None:
    make_special(tmp_path / "x.jpg", kind)
    make_special(tmp_path / "x.txt", kind)
    assert listed(tmp_path) == {"x.jpg": ["x.jpg"]}


def test_folders_may_be_nested_deeper_than_python_recurses(tmp_path: Path) -> None:
    folders = [tmp_path / "a"]
    while len(folders) < sys.getrecursionlimit() + 200:
        folders.append(folders[-1] / "a")
    for folder in folders:
        folder.mkdir()
    image = folders[-1] / "1.jpg"
    image.touch()
    (tracklet,) = read_folder(tmp_path)
    image.unlink()
    for folder in reversed(folders):  # what removes temporary folders does recurse
        folder.rmdir()
    assert (tracklet.id, tracklet.frames) == ("/".join("a" * len(folders)), (image,))


def test_links_that_double_the_ways_to_a_folder_again_and_again_are_refused(tmp_path: Path) -> None:
    """Forty folders, each with two links to the next, would be a million million tracklets."""
    for number in range(40):
        (tmp_path / str(number)).mkdir()
        for name in ("a", "b"):
            (tmp_path / str(number) / name).symlink_to(tmp_path / str(number + 1))
    touch(tmp_path, "40/1.jpg")
    with pytest.raises(DataError, match=r"^[^\n]*/0/[ab/]+: links lead to this folder in more than 16 ways; remove"):
        read_folder(tmp_path / "0")


def test_folders_that_link_to_each_other_do_not_run_forever(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.jpg", "y/1.jpg")
    (tmp_path / "x" / "to").symlink_to(tmp_path / "y")
    (tmp_path / "y" / "to").symlink_to(tmp_path / "x")
    assert set(listed(tmp_path)) == {"x", "x/to", "y", "y/to"}


@pytest.mark.parametrize("inner", [".", "car", "car/c1_0"])
def test_a_folder_without_permission_is_a_data_error_that_names_it_with_a_remedy(
    tmp_path: Path, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "car/c1_0/1.jpg", "2.jpg")
    forbid(monkeypatch, tmp_path / inner)
    with pytest.raises(DataError) as raised:
        read_folder(tmp_path)
    expected = f"{tmp_path / inner}: permission denied; make it readable (chmod u+rX) or ask its owner to"
    assert str(raised.value) == expected


def test_names_that_are_not_text_or_would_steer_a_terminal_are_read_like_others(tmp_path: Path) -> None:
    names = [b"caf\xe9.jpg", b"a\nb.jpg", b"\x1b[31m.jpg", b"-rf.jpg", b"\xf0\x9f\x9a\x97/\xff.jpg"]
    touch(tmp_path, *map(os.fsdecode, names))
    expected = {os.fsdecode(name.split(b"/")[0]): [os.fsdecode(name)] for name in names}
    assert listed(tmp_path) == expected


def test_a_folder_named_like_an_image_is_a_tracklet(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg/1.jpg")
    assert listed(tmp_path) == {"x.jpg": ["x.jpg/1.jpg"]}


def test_vehicle_and_camera_come_from_the_names_where_these_agree(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "0002_c003_00084255_0.jpg",
        "0002_c1s1_000451_03.jpg",
        "-1_c1s1_000451_03.jpg",
        "a.jpg",
        "same/0002_c003_00084255_0.jpg",
        "same/0002_c003_00084260_1.jpg",
        "two_cameras/0002_c003_00084255_0.jpg",
        "two_cameras/0002_c004_00084255_0.jpg",
        "some/0002_c003_00084255_0.jpg",
        "some/other.jpg",
    )
    assert labels(tmp_path) == {
        "0002_c003_00084255_0.jpg": ("0002", "c003"),
        "0002_c1s1_000451_03.jpg": ("0002", "c1"),
        "-1_c1s1_000451_03.jpg": (None, None),
        "a.jpg": (None, None),
        "same": ("0002", "c003"),
        "two_cameras": (None, None),
        "some": (None, None),
    }


def test_vehicle_and_camera_come_from_tracklet_folders(tmp_path: Path) -> None:
    touch(tmp_path, "car7/c001_0/000.jpg", "car7/c002_0/000.jpg", "car7/loose/000.jpg", "a/b/c001_0/000.jpg")
    assert labels(tmp_path) == {
        "a/b/c001_0": (None, None),
        "car7/c001_0": ("car7", "c001"),
        "car7/c002_0": ("car7", "c002"),
        "car7/loose": (None, None),
    }


def test_a_folder_that_is_absent_a_file_or_without_images_is_a_data_error_that_names_it(tmp_path: Path) -> None:
    touch(tmp_path, "file.jpg", "empty/notes.txt")
    for name, reason in (("absent", "no such folder"), ("file.jpg", "not a folder"), ("empty", "no images")):
        with pytest.raises(DataError, match=reason) as raised:
            read_folder(tmp_path / name)
        assert str(tmp_path / name) in str(raised.value)
        assert "\n" not in str(raised.value)
