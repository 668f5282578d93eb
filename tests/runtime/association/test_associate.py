"""Identities over cameras, beside a naive program that follows the same words."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid import DataError
from reid.runtime.association.associate import Associator, associate
from reid.runtime.association.members import Members
from reid.runtime.association.tracks import SeenTrack
from reid.runtime.galleries.travel_times import TravelTimes
from reid.runtime.operating_point import written_score

FREE = TravelTimes({})
STRICT = TravelTimes({("a", "b"): (3, 10), ("b", "a"): (2, math.inf), ("a", "a"): (4, 30), ("c", "a"): (0, 5)})


def direction(degrees: float) -> NDArray[np.float32]:
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], np.float32)


def track(name: str, camera: str, first_s: float, last_s: float, degrees: float = 0) -> SeenTrack:
    return SeenTrack(name, camera, first_s, last_s, direction(degrees))


@st.composite
def many_tracks(draw: st.DrawFn) -> list[SeenTrack]:
    seen = st.tuples(st.sampled_from("abc"), st.integers(0, 25), st.integers(0, 6), st.integers(0, 17))
    rows = draw(st.lists(seen, max_size=10))
    return [track(f"t{n}", camera, at, at + long, 10 * turn) for n, (camera, at, long, turn) in enumerate(rows)]


def naive(steps: Sequence[Sequence[SeenTrack]], threshold: float, travel: TravelTimes) -> dict[str, int]:
    """Decide on one track after another, looking at everything again each time."""
    identities: list[list[SeenTrack]] = []
    found: dict[str, int] = {}
    for step in steps:
        left = sorted(step, key=lambda one: (one.last_s, one.first_s, one.camera, one.id))
        while left:
            best: tuple[float, int, int] | None = None
            for number, members in enumerate(identities):
                for row, one in enumerate(left):
                    if can_be(one, members, travel):
                        score = float(np.mean([pair_score(one, member) for member in members]))
                        if score >= threshold and (best is None or score > best[0]):
                            best = score, number, row
            row, number = (best[2], best[1]) if best else (0, len(identities))
            if not best:
                identities.append([])
            identities[number].append(left[row])
            found[left.pop(row).id] = number
    return found


def pair_score(one: SeenTrack, other: SeenTrack) -> float:
    return written_score(float(one.embedding.astype(float) @ other.embedding.astype(float)))


def can_be(one: SeenTrack, members: Sequence[SeenTrack], travel: TravelTimes) -> bool:
    middle = {member.id: (member.first_s + member.last_s) / 2 for member in [*members, one]}
    for member in members:
        if member.camera == one.camera and not (one.last_s < member.first_s or member.last_s < one.first_s):
            return False
        apart = middle[one.id] - middle[member.id]
        pair = (member.camera, one.camera) if apart >= 0 else (one.camera, member.camera)
        if abs(apart) < travel.limits.get(pair, (0, 0))[0]:
            return False
    latest = max(members, key=lambda member: middle[member.id])
    most = travel.limits.get((latest.camera, one.camera), (0, math.inf))[1]
    return middle[one.id] - middle[latest.id] <= most


def in_steps(tracks: Sequence[SeenTrack], step_s: float) -> list[list[SeenTrack]]:
    steps: list[list[SeenTrack]] = []
    for one in sorted(tracks, key=lambda one: one.last_s):
        if not steps or one.last_s - steps[-1][0].last_s > step_s:
            steps.append([])
        steps[-1].append(one)
    return steps


@given(many_tracks(), st.sampled_from([0.2, 0.7, 0.95]), st.sampled_from([FREE, STRICT]), st.sampled_from([0, 5, 99]))
def test_as_the_naive_program(tracks: list[SeenTrack], threshold: float, travel: TravelTimes, step_s: float) -> None:
    expected = naive(in_steps(tracks, step_s), threshold, travel)
    assert associate(tracks, threshold, travel=travel, step_s=step_s) == expected


@settings(max_examples=40)
@given(many_tracks(), st.sampled_from([0, 5, 99]), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(tracks: list[SeenTrack], step_s: float, shuffle: random.Random) -> None:
    mixed = shuffle.sample(tracks, len(tracks))
    assert associate(mixed, 0.7, travel=STRICT, step_s=step_s) == associate(tracks, 0.7, travel=STRICT, step_s=step_s)


@settings(max_examples=40)
@given(many_tracks(), st.integers(0, 10))
def test_identities_outlive_a_restart(tracks: list[SeenTrack], stop: int) -> None:
    steps = in_steps(tracks, 0)
    whole = associate(tracks, 0.7, travel=STRICT)
    by_name = {one.id: one for one in tracks}
    kept: dict[int, list[SeenTrack]] = {}
    for one in (one for step in steps[:stop] for one in step):
        kept.setdefault(whole[one.id], []).append(by_name[one.id])
    restarted = Associator(0.7, travel=STRICT)
    restarted.remember(kept)
    for step in steps[stop:]:
        assert restarted.add(step).items() <= whole.items()


def test_a_track_below_the_threshold_is_a_new_vehicle() -> None:
    at_60 = [track("x", "a", 0, 1), track("y", "b", 5, 6, 60)]
    assert associate(at_60, 0.5) == {"x": 0, "y": 0}  # cos 60° is written 0.500000
    assert associate(at_60, 0.500001) == {"x": 0, "y": 1}


def test_a_vehicle_is_not_two_tracks_of_a_camera_at_a_time() -> None:
    associator = Associator(0.9)
    assert associator.add([track("x", "a", 0, 10)]) == {"x": 0}
    step = [track("far", "a", 10, 12, 15), track("near", "a", 11, 12, 5), track("other camera", "b", 3, 12, 3)]
    assert associator.add(step) == {"other camera": 0, "near": 0, "far": 1}
    assert associator.add([track("again", "a", 13, 14, 5)]) == {"again": 0}


def test_nobody_is_faster_than_the_fastest_and_a_journey_ends() -> None:
    for seconds, joins in ((2, False), (3, True), (10, True), (11, False)):
        tracks = [track("x", "a", 0, 0), track("y", "b", seconds, seconds)]
        assert associate(tracks, 0.9, travel=STRICT) == {"x": 0, "y": 0 if joins else 1}


def test_the_best_of_a_step_goes_first() -> None:
    """One after another, the first to end takes the place of the one that fits better."""
    tracks = [track("x", "a", 0, 1), track("alike", "b", 5, 8, 20), track("same", "b", 5, 9, 2)]
    assert associate(tracks, 0.9) == {"x": 0, "alike": 0, "same": 1}
    assert associate(tracks, 0.9, step_s=2) == {"x": 0, "same": 0, "alike": 1}


def test_of_equal_scores_the_older_identity_goes_first() -> None:
    """Afterwards, the tracks of the step, which are alike, are best with each other."""
    rows = {"old": (1, 0, 0), "young": (0, 1, 0), "first": (0.5, 0.6, 0.39**0.5), "second": (0.6, 0.5, 0.39**0.5)}
    seen = [SeenTrack(name, "a", n, n, np.array(row, np.float32)) for n, (name, row) in enumerate(rows.items())]
    associator = Associator(0.4)
    for known in seen[:2]:
        associator.add([known])
    assert associator.add(seen[2:]) == {"first": 0, "second": 0}


def test_one_chance_likeness_does_not_join_two_vehicles() -> None:
    tracks = [track("x", "a", 0, 1), track("y", "b", 2, 3, 25), track("z", "c", 4, 5, 50)]
    assert associate(tracks, 0.9) == {"x": 0, "y": 0, "z": 1}  # z is 25 degrees from y: 0.906; from both: 0.77


def test_identities_are_forgotten() -> None:
    associator = Associator(0.9, forget_s=100)
    assert associator.add([track("x", "a", 0, 10), track("y", "a", 0, 10, 90)]) == {"x": 0, "y": 1}
    assert associator.add([track("z", "b", 110, 110)]) == {"z": 0}  # just in time
    assert associator.add([track("late", "b", 200, 201, 90)]) == {"late": 2}  # y was 190 s ago, and x is kept by z
    assert associator.add([track("y", "a", 202, 203, 45)]) == {"y": 3}  # its name is free again


def test_numbers_of_forgotten_identities_are_not_given_again_after_a_restart() -> None:
    before = Associator(0.9, forget_s=100)
    assert before.next_number == 0
    before.add([track("x", "a", 0, 50), track("y", "a", 0, 10, 90)])
    restarted = Associator(0.9, forget_s=100, first=before.next_number)
    restarted.remember({0: [track("x", "a", 0, 50)]})
    step = [track("z", "b", 120, 121, 45)]
    assert restarted.add(step) == before.add(step) == {"z": 2}
    assert restarted.next_number == before.next_number == 3


@given(st.lists(st.booleans(), min_size=1, max_size=50), st.integers(1, 5))
def test_members_move_up_and_keep_their_room(kept: list[bool], block: int) -> None:
    members = Members()
    for row, is_kept in enumerate(kept):
        members.add(track(f"t{row}", "a", 0, int(is_kept), row), row)
    room = members.embeddings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reid.runtime.association.members._BLOCK", block)
        members.forget(1)
    expected = [row for row, is_kept in enumerate(kept) if is_kept]
    assert members.numbers.tolist() == expected == [*members.of]
    np.testing.assert_array_equal(members.embeddings, np.array([direction(row) for row in expected]).reshape(-1, 2))
    assert np.shares_memory(members.embeddings, room) == bool(expected)


def test_what_cannot_be_compared_is_refused_and_nothing_is_taken_in() -> None:
    associator = Associator(0.9)
    associator.add([track("x", "a", 0, 1)])
    new = track("new", "b", 5, 6)
    for wrong, reason in (
        (track("x", "b", 5, 6), "'x' was there before"),
        (track("y", "b", 6, 5), "'y' is from 6 to 5 s"),
        (track("y", "b", math.nan, 5), "'y' is from nan to 5 s"),
        (SeenTrack("y", "b", 5, 6, np.ones(3, np.float32)), r"'y' has an embedding \[3\], expected \[2\]"),
        (SeenTrack("y", "b", 5, 6, direction(0).astype(float)), "'y' has an embedding of float64, expected float32"),  # type: ignore[arg-type]
        (SeenTrack("y", None, 5, 6, direction(0)), "'y' has the camera None: name the camera"),  # type: ignore[arg-type]
        (SeenTrack("y", "", 5, 6, direction(0)), "'y' has the camera '': name the camera"),
        (SeenTrack("y", "b", 5, 6, 2 * direction(0)), "'y' cannot be compared, embedding 0 has length 2"),
    ):
        with pytest.raises(DataError, match=reason):
            associator.add([new, wrong])
        with pytest.raises(DataError, match=reason):
            associator.remember({0: [new, wrong]})
    with pytest.raises(DataError, match="'new' was there before"):
        associator.add([new, new])
    assert associator.add([new]) == {"new": 0}
    assert associator.add([]) == {}


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_members_of_any_number(size: int) -> None:
    tracks = [track(f"t{n}", "a", n, n + 0.5, 90 * (n % 4)) for n in range(size)]
    assert associate(tracks, 0.5) == {f"t{n}": n % 4 for n in range(size)}
