from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reid.data.dataset import Split
from reid.data.splitting import hold_out_vehicles
from reid.runtime.errors import DataError
from reid.runtime.tracklet import Tracklet


def labeled(cameras_of: dict[str, list[str]], frames: int = 2) -> Split:
    tracklets = [
        Tracklet(
            f"{vehicle}_{camera}",
            tuple(Path(f"{vehicle}_{camera}_{index}.jpg") for index in range(frames)),
            camera,
            vehicle,
        )
        for vehicle, cameras in cameras_of.items()
        for camera in cameras
    ]
    images = [Tracklet(str(frame), (frame,), t.camera, t.vehicle) for t in tracklets for frame in t.frames]
    return Split(tuple(images), tuple(tracklets))


fleets = st.dictionaries(
    st.integers(0, 60).map(str), st.lists(st.sampled_from(["c1", "c2", "c3"]), min_size=1, unique=True), max_size=30
)


@given(fleets, st.floats(0, 1), st.integers(0, 5))
def test_every_split_is_by_vehicle_and_every_query_has_an_answer(
    fleet: dict[str, list[str]], share: float, seed: int
) -> None:
    data = labeled(fleet)
    eligible = {vehicle for vehicle, cameras in fleet.items() if len(cameras) > 1}
    if len(eligible) < 2 or len(fleet) < 4:
        with pytest.raises(DataError):
            hold_out_vehicles(data, share=share, seed=seed)
        return
    split = hold_out_vehicles(data, share=share, seed=seed)
    train, query, gallery, facts = split.train, split.query, split.gallery, split.facts
    held_out = {image.vehicle for image in gallery.images}
    assert held_out == {tracklet.vehicle for tracklet in gallery.tracklets} == set(facts["vehicles"])
    assert held_out <= eligible
    assert len(held_out) >= 2
    assert {image.vehicle for image in train.images} == set(fleet) - held_out
    assert len(set(fleet) - held_out) >= 2
    for part, (left, right) in {"images": (train, gallery), "tracklets": (train, gallery)}.items():
        everything = {*getattr(left, part), *getattr(right, part)}
        assert everything == set(getattr(data, part))
    views = [(str(image.vehicle), str(image.camera)) for image in query.images]
    assert sorted(views) == sorted((vehicle, camera) for vehicle in held_out for camera in fleet[str(vehicle)])
    for image, own in zip(query.images, query.tracklets, strict=True):
        assert any(i.vehicle == image.vehicle and i.camera != image.camera for i in gallery.images)
        assert image.frames[0] in own.frames
    assert facts["queries"] == [image.id for image in query.images]
    assert facts["seed"] == seed


@given(fleets, st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_same_seed_gives_the_same_split_whatever_the_order_of_the_images(
    fleet: dict[str, list[str]], seed: int, shuffler: random.Random
) -> None:
    assume(len(fleet) >= 4 and sum(len(cameras) > 1 for cameras in fleet.values()) >= 2)
    data = labeled(fleet, frames=5)
    images = list(data.images)
    shuffler.shuffle(images)
    facts = hold_out_vehicles(data, share=0.5, seed=seed).facts
    assert hold_out_vehicles(Split(tuple(images), data.tracklets), share=0.5, seed=seed).facts == facts


def test_another_seed_gives_another_split() -> None:
    data = labeled({f"{number:02d}": ["c1", "c2"] for number in range(40)})
    chosen = {tuple(hold_out_vehicles(data, share=0.25, seed=seed).facts["vehicles"]) for seed in range(10)}
    assert len(chosen) == 10


def test_the_share_is_of_all_vehicles() -> None:
    data = labeled({f"{number:02d}": ["c1", "c2"] for number in range(40)})
    for share, expected in ((0.25, 10), (0.5, 20), (0.0, 2), (1.0, 38)):
        assert len(hold_out_vehicles(data, share=share, seed=0).facts["vehicles"]) == expected
