"""Which frames an entry was made of, by what is beside its picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.runtime.folders import read_folder
from reid.runtime.galleries.entry import Entry, entry_of
from reid.runtime.kept_pictures import KeptPictures, why_missing

SHARP = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
BLURRED = np.full((64, 64, 3), 128, np.uint8)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    for name, count in (("", 2), ("north/t1", 3), ("north/t2", 2)):
        (tmp_path / "crops" / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            cv2.imwrite(str(tmp_path / "crops" / name / f"{number}.png"), SHARP)
    return tmp_path / "crops"


@pytest.mark.parametrize("archived", [False, True])
def test_the_frames_of_everything_that_is_appended_are_found_again(crops: Path, archived: bool) -> None:
    source = Path(shutil.make_archive(str(crops), "zip", crops)) if archived else crops
    tracklets, pictures = read_folder(source), KeptPictures()
    assert [len(one.frames) for one in tracklets] == [1, 1, 3, 2]
    for tracklet in tracklets:
        entry = entry_of(tracklet)
        assert why_missing(entry) == ""
        assert tuple(pictures.frames_of(entry)) == tracklet.frames


def test_a_folder_of_something_else_is_not_taken_for_a_tracklet(crops: Path) -> None:
    """One with a name of its own, one with too few images, one that is gone, and one image."""
    picture = crops / "north" / "t1" / "1.png"
    for identity, frames in (("another", 3), ("t", 3), ("north/t1", 4), ("north/t1", 1), ("north/t1", 0)):
        assert KeptPictures().frames_of(Entry(identity, picture=str(picture), frames=frames)) == [picture]
    elsewhere = crops / "gone" / "1.png"
    assert KeptPictures().frames_of(Entry("gone", picture=str(elsewhere), frames=2)) == [elsewhere]
    loose = crops / "0.png"
    assert KeptPictures().frames_of(Entry("crops", picture=str(loose), frames=2)) == [loose, crops / "1.png"]


def test_what_a_gate_kept_out_stays_out(crops: Path) -> None:
    folder = crops / "north" / "t1"
    entry = entry_of(next(one for one in read_folder(crops) if one.id == "north/t1"))
    cv2.imwrite(str(folder / "9.png"), BLURRED)
    assert [path.name for path in KeptPictures().frames_of(entry)] == ["0.png", "1.png", "2.png"]
    cv2.imwrite(str(folder / "8.png"), SHARP)
    assert len(KeptPictures().frames_of(entry)) == 5


def test_what_could_not_be_read_is_not_taken_for_what_was(tmp_path: Path) -> None:
    """A folder of a sharp, a blurred and a broken frame, appended without a gate."""
    folder = tmp_path / "t"
    folder.mkdir()
    for name, pixels in (("0.png", SHARP), ("1.png", BLURRED)):
        cv2.imwrite(str(folder / name), pixels)
    (folder / "2.png").write_bytes(b"broken")
    entry = Entry("t", picture=str(folder / "1.png"), frames=2)
    assert KeptPictures().frames_of(entry) == [folder / "0.png", folder / "1.png"]


def test_why_a_picture_is_missing(tmp_path: Path) -> None:
    assert why_missing(Entry("a")) == "'a' was added without a picture"
    assert why_missing(Entry("a", picture=str(tmp_path / "a.jpg"))) == f"{tmp_path}/a.jpg: No such file or directory"
    (tmp_path / "folder").mkdir()
    assert "folder" in why_missing(Entry("a", picture=str(tmp_path / "folder")))
