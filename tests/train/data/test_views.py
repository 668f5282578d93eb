"""What sampling tells the images of a vehicle apart by."""

from __future__ import annotations

from pathlib import Path

from reid.data.tracks import group_into_tracklets
from reid.runtime.tracklet import Tracklet
from reid.train.data.views import camera_views, track_views


def image(name: str, camera: str | None) -> Tracklet:
    return Tracklet(name, (Path(name),), camera, "7")


def test_cameras_are_views_and_unknown_ones_are_alike() -> None:
    assert camera_views([image("a.jpg", "c1"), image("b.jpg", None), image("c.jpg", None)]) == [("c1",), ("",), ("",)]


def test_tracks_are_views_of_their_camera_and_images_of_none_are_told_apart_by_cameras() -> None:
    images = [image(f"{number}.jpg", camera) for number, camera in enumerate(["c1", "c1", "c1", "c1", "c2"])]
    tracks = [
        Tracklet("t", (*images[0].frames, *images[2].frames), "c1", "7"),
        Tracklet("t", images[1].frames, "c1", "7"),  # a name that two tracks share
    ]
    first, second, again, untracked, elsewhere = track_views(images, tracks)
    assert first == again
    assert len({first, second, untracked, elsewhere}) == 4
    assert [view[0] for view in (first, second, again, untracked, elsewhere)] == ["c1", "c1", "c1", "c1", "c2"]
    assert untracked[1] == elsewhere[1] == ""


def test_times_tell_the_passages_apart_that_veri_lists_as_one() -> None:
    names = ["0007_c001_00001000_0.jpg", "0007_c001_00001010_0.jpg", "0007_c001_00090000_0.jpg"]
    images = [image(name, "c001") for name in names]
    first, second, later = track_views(images, group_into_tracklets(images))
    assert first == second != later
