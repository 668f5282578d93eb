"""Travel times learned from sightings of known vehicles."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.data.travel import journeys_for, learn_travel
from reid.runtime.galleries.entry import Entry

SEEN = st.lists(st.tuples(st.sampled_from("uv"), st.sampled_from("abc"), st.integers(0, 60)), max_size=25, unique=True)


def entries(seen: list[tuple[str, str, int]]) -> list[Entry]:
    return [Entry(str(n), camera, vehicle, float(time)) for n, (vehicle, camera, time) in enumerate(seen)]


def naive(seen: list[tuple[str, str, int]], start: str, end: str) -> list[int]:
    """For every sighting at the start: the next one of the vehicle at the end, if it was not at the start between."""
    order = sorted((time, camera, vehicle) for vehicle, camera, time in seen)
    durations = []
    for number, (time, camera, vehicle) in enumerate(order):
        later = [one for one in order[number + 1 :] if one[2] == vehicle and one[1] in (start, end)]
        if camera == start and later and later[0][1] == end:
            durations.append(later[0][0] - time)
    return durations


@given(SEEN, st.integers(1, 4))
def test_all_journeys_as_a_loop_finds_them(seen: list[tuple[str, str, int]], fewest: int) -> None:
    limits = learn_travel(entries(seen), share=0.5, fewest=fewest).limits
    for start in "abc":
        for end in "abc":
            durations = sorted(naive(seen, start, end))
            rank = (len(durations) + 1) // 4
            enough = len(durations) >= fewest and rank
            assert limits.get((start, end)) == ((durations[rank - 1], durations[-rank]) if enough else None)


@settings(max_examples=40)
@given(SEEN, st.randoms(use_true_random=False))
def test_the_order_of_the_entries_does_not_matter(seen: list[tuple[str, str, int]], shuffle: random.Random) -> None:
    there = entries(seen)
    mixed = shuffle.sample(there, len(there))
    assert learn_travel(mixed, share=0.3, fewest=1).limits == learn_travel(there, share=0.3, fewest=1).limits


def once_each(durations: Iterable[int]) -> list[Entry]:
    journeys = enumerate(durations)
    return entries([(f"v{n}", camera, time) for n, far in journeys for camera, time in (("a", 50), ("b", 50 + far))])


@pytest.mark.parametrize("journeys", [99, 250])
def test_a_journey_to_come_is_as_likely_within_the_limits_as_promised(journeys: int) -> None:
    random, most = np.random.default_rng(0), 10**6
    within = []
    for _ in range(80):
        limits = learn_travel(once_each(random.integers(most, size=journeys).tolist())).limits["a", "b"]
        within.append((limits[1] - limits[0]) / most)  # of all times that are equally likely
    assert np.mean(within) == pytest.approx(1 - 2 * ((journeys + 1) // 100) / (journeys + 1), abs=0.005)


def test_too_few_journeys_promise_nothing() -> None:
    assert [journeys_for(share) for share in (0.98, 0.9, 0.99)] == [99, 20, 199]
    assert learn_travel(once_each(range(98))).limits == {}
    assert learn_travel(once_each(range(99))).limits == {("a", "b"): (0, 98)}
    assert learn_travel(once_each(range(19)), share=0.9).limits == {}
    assert learn_travel(once_each(range(20)), share=0.9).limits == {("a", "b"): (0, 19)}


def test_what_lacks_a_vehicle_a_camera_or_a_time_is_left_out() -> None:
    known = [*entries([("v", "a", 0), ("v", "b", 9)]), *entries([("u", "a", 0), ("u", "b", 9)])]
    useless = [Entry("x", None, "v", 3.0), Entry("y", "a", None, 4.0), Entry("z", "b", "v")]
    assert learn_travel([*useless, *known], share=0.01, fewest=1).limits == {("a", "b"): (9.0, 9.0)}


def test_a_share_is_a_share() -> None:
    for share in (0, 1):
        with pytest.raises(ValueError, match=f"share is {share}, expected above 0 and below 1"):
            learn_travel([], share=share)
