"""Passages of vehicles, by the names of images."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reid.data.passages import passage_numbers, passages
from reid.runtime.galleries.entry import Entry
from reid.runtime.tracklet import Tracklet


def image(name: str, camera: str | None = "c1", vehicle: str | None = "7") -> Tracklet:
    return Tracklet(name, [f"/data/{name}"], camera, vehicle)


def test_a_passage_is_in_the_middle_of_its_images_and_ends_with_a_gap() -> None:
    names = ["0007_c001_00001000_0.jpg", "0007_c001_00001050_3.jpg", "0007_c001_00001025_1.jpg"]
    later = ["0007_c001_00009000_0.jpg"]
    elsewhere = [image("0007_c002_00002000_0.jpg", "c2"), image("0008_c001_00001010_0.jpg", vehicle="8")]
    found = passages([*map(image, [*names, *later]), *elsewhere], clock=25)
    assert found == [
        Entry("7 c1 0", "c1", "7", 41.0, "", 3),
        Entry("7 c1 1", "c1", "7", 360.0, "", 1),
        Entry("7 c2 0", "c2", "7", 80.0, "", 1),
        Entry("8 c1 0", "c1", "8", 40.4, "", 1),
    ]


@given(st.lists(st.integers(0, 10**5), min_size=1, max_size=30, unique=True), st.sampled_from([1.0, 25.0]))
def test_images_are_in_passages_as_a_loop_finds_them(times: list[int], clock: float) -> None:
    expected: list[list[float]] = []
    for time in sorted(times):
        if not expected or time / clock - expected[-1][-1] > 10:
            expected.append([])
        expected[-1].append(time / clock)
    found = passages([image(f"0007_c001_{time:08}_0.jpg") for time in times], clock)
    assert [(one.time_s, one.frames) for one in found] == [((a[0] + a[-1]) / 2, len(a)) for a in expected]


def test_every_image_has_the_number_of_its_passage() -> None:
    names = ["0007_c001_00009000_0.jpg", "0007_c001_00001000_0.jpg", "0007_c001_00001250_1.jpg", "000001.jpg"]
    others = [image("0007_c002_00009000_0.jpg", "c2"), image("0008_c001_00009000_0.jpg", vehicle="8")]
    assert passage_numbers([*map(image, names), *others], clock=25) == [1, 0, 0, 0, 0, 0]
    assert passage_numbers([*map(image, names), *others], clock=24) == [2, 0, 1, 0, 0, 0]


def test_what_tells_no_common_time_is_left_out() -> None:
    assert passages([image("000001.jpg"), image("0002_c1s1_000451_03.jpg")], 25) == []
    assert passages([image("0007_c001_00001000_0.jpg", None), image("0007_c001_00001000_0.jpg", "c1", None)], 25) == []
