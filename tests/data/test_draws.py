"""The draws of a gallery: one image of each vehicle, all others being queries."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reid.data.dataset import Split, TestSet
from reid.data.draws import draw_gallery
from reid.runtime.tracklet import Tracklet


def drawn_set(counts: dict[str, int]) -> TestSet:
    images = tuple(
        Tracklet(f"{vehicle}-{n}", (Path(f"{vehicle}-{n}.jpg"),), None, vehicle)
        for vehicle, count in counts.items()
        for n in range(count)
    )
    return TestSet("800", Split(images, images), Split(images), draws=10)


fleets = st.dictionaries(st.integers(0, 50).map(str), st.integers(1, 5), min_size=1, max_size=20)


@given(fleets, st.integers(0, 9))
def test_a_draw_takes_one_image_of_each_vehicle_and_asks_for_all_others(fleet: dict[str, int], number: int) -> None:
    whole = drawn_set(fleet)
    query, gallery = draw_gallery(whole, number)
    assert Counter(image.vehicle for image in gallery.images) == Counter(fleet.keys())
    assert sorted(image.id for image in (*query.images, *gallery.images)) == sorted(i.id for i in whole.query.images)
    assert query.tracklets == query.images
    assert gallery.tracklets == ()


@given(fleets, st.integers(0, 9), st.randoms(use_true_random=False))
def test_a_draw_does_not_depend_on_the_order_of_the_images(
    fleet: dict[str, int], number: int, shuffler: random.Random
) -> None:
    whole = drawn_set(fleet)
    images = list(whole.gallery.images)
    shuffler.shuffle(images)
    other = TestSet("800", Split(tuple(images), tuple(images)), Split(tuple(images)), draws=10)
    drawn = [{image.id for image in draw_gallery(one, number)[1].images} for one in (whole, other)]
    assert drawn[0] == drawn[1]


def test_every_image_of_a_vehicle_is_drawn_about_equally_often() -> None:
    whole = drawn_set({"a": 4, "b": 1})
    drawn = Counter(image.id for number in range(400) for image in draw_gallery(whole, number)[1].images)
    assert drawn["b-0"] == 400
    assert all(60 < drawn[f"a-{n}"] < 140 for n in range(4))
