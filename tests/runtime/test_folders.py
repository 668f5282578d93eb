from __future__ import annotations

from pathlib import Path

import pytest

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
    listing = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: sorted(listing(self), reverse=True))
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
