from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
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
    assume(len(eligible) >= 2 and len(fleet) >= 4)
    split = hold_out_vehicles(data, share=share, seed=seed)
    train, query, gallery, facts = split.train, split.query, split.gallery, split.facts
    held_out = {image.vehicle for image in gallery.images}
    assert facts["by"] == "cameras"
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


def split_of_reid_0_1(data: Split, share: float, seed: int) -> tuple[list[str], list[str]]:
    """Return vehicles and queries as reid 0.1 chose them, whose models are judged by the same ones today."""
    cameras: dict[str, set[str]] = {}
    for image in data.images:
        cameras.setdefault(str(image.vehicle), set()).add(str(image.camera))
    eligible = sorted(vehicle for vehicle in cameras if len(cameras[vehicle]) > 1)
    random = np.random.default_rng(seed)
    count = min(max(2, round(share * len(cameras))), len(eligible), len(cameras) - 2)
    vehicles = sorted(random.permutation(eligible)[:count].tolist())
    queries = []
    for vehicle in vehicles:
        for camera in sorted(cameras[vehicle]):
            names = sorted(i.id for i in data.images if (i.vehicle, i.camera) == (vehicle, camera))
            queries.append(names[random.integers(len(names))])
    return vehicles, queries


@given(fleets, st.floats(0, 1), st.integers(0, 5))
def test_where_two_vehicles_are_seen_by_two_cameras_the_split_is_that_of_reid_0_1(
    fleet: dict[str, list[str]], share: float, seed: int
) -> None:
    assume(len(fleet) >= 4 and sum(len(cameras) > 1 for cameras in fleet.values()) >= 2)
    data = labeled(fleet, frames=4)
    facts = hold_out_vehicles(data, share=share, seed=seed).facts
    assert (facts["vehicles"], facts["queries"]) == split_of_reid_0_1(data, share, seed)


def tracked(tracks_of: dict[str, list[int]], camera: str | None) -> Split:
    """Return vehicles of one camera, by the number of frames of each of their tracks."""
    tracklets = [
        Tracklet(f"{vehicle}_t{track}", tuple(Path(f"{vehicle}_t{track}_{n}") for n in range(frames)), camera, vehicle)
        for vehicle, tracks in tracks_of.items()
        for track, frames in enumerate(tracks)
    ]
    images = [Tracklet(str(frame), (frame,), camera, t.vehicle) for t in tracklets for frame in t.frames]
    return Split(tuple(images), tuple(tracklets))


tracks = st.dictionaries(st.integers(0, 60).map(str), st.lists(st.integers(1, 4), min_size=1, max_size=3), max_size=20)


@given(tracks, st.sampled_from(["c1", None]), st.floats(0, 1), st.integers(0, 3))
def test_without_two_cameras_vehicles_are_held_out_by_tracks_and_else_by_images(
    fleet: dict[str, list[int]], camera: str | None, share: float, seed: int
) -> None:
    data = tracked(fleet, camera)
    by_tracks = {vehicle for vehicle, frames in fleet.items() if len(frames) > 1}
    by_images = {vehicle for vehicle, frames in fleet.items() if sum(frames) > 1}
    eligible = by_tracks if len(by_tracks) > 1 else by_images
    assume(len(fleet) >= 4 and len(eligible) >= 2)
    split = hold_out_vehicles(data, share=share, seed=seed)
    query, gallery, facts = split.query, split.gallery, split.facts
    held_out = set(facts["vehicles"])
    assert len(held_out) == min(max(2, round(share * len(fleet))), len(eligible), len(fleet) - 2)
    assert held_out <= eligible
    assert held_out == {image.vehicle for image in gallery.images} == {image.vehicle for image in query.images}
    assert held_out.isdisjoint(image.vehicle for image in split.train.images)
    asked = {image.frames[0] for image in query.images}
    if eligible is by_tracks:
        assert facts["by"] == "tracks"
        owns = [own.id for own in query.tracklets]
        assert sorted(owns) == sorted(t.id for t in data.tracklets if t.vehicle in held_out)  # each is asked for once
        assert all(i.frames[0] in own.frames for i, own in zip(query.images, query.tracklets, strict=True))
        assert {image.frames[0] for image in gallery.images} >= asked
    else:
        assert facts["by"] == "images"
        assert len(query.images) == len(held_out)
        assert asked.isdisjoint(image.frames[0] for image in gallery.images)
        assert gallery.tracklets == ()  # which would hold the queries
        assert query.tracklets == query.images


@given(st.dictionaries(st.integers(0, 9).map(str), st.lists(st.integers(1, 2), min_size=1, max_size=2), max_size=5))
def test_what_is_missing_is_named_and_adding_it_is_enough(fleet: dict[str, list[int]]) -> None:
    try:
        hold_out_vehicles(tracked(fleet, "c1"), share=0.1, seed=0)
    except DataError as error:
        found = re.search(r"add (\d) vehicles? with at least two (images|tracks)$", str(error))
        assert found is not None
        more = {f"new{n}": [1, 1] if found[2] == "tracks" else [2] for n in range(int(found[1]))}
        assert hold_out_vehicles(tracked(fleet | more, "c1"), share=0.1, seed=0).facts["vehicles"]


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
