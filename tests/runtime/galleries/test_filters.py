"""Filters of a set of queries: the conditions that come of them, and what has to be known."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from reid.runtime.errors import DataError
from reid.runtime.galleries.conditions import ANY, Condition, Travel
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.filters import Filters
from reid.runtime.galleries.travel_times import Sighting, TravelTimes
from reid.runtime.tracklet import Tracklet

CROP = np.zeros((1, 1, 3), np.uint8)
TIMES = TravelTimes({("c1", "c2"): (5, 9)})
QUERY, NAMELESS = Tracklet("q", (CROP,), "c1"), Tracklet("nameless", (CROP,))


@pytest.mark.parametrize(
    ("filters", "condition"),
    [
        (Filters(), ANY),
        (Filters(frozenset({"c2"}), frozenset({"c3"})), Condition(frozenset({"c2"}), frozenset({"c3"}))),
        (Filters(other_cameras=True, not_cameras=frozenset({"c3"})), Condition(None, frozenset({"c1", "c3"}))),
        (Filters(since_s=2), Condition(time_s=(2, math.inf))),
        (Filters(until_s=0.0), Condition(time_s=(-math.inf, 0))),
        (Filters(since_s=0.0, until_s=1), Condition(time_s=(0, 1))),
        (Filters(travel=TIMES, times={"q": 3.0}), Condition(travel=Travel(TIMES, Sighting("c1", 3.0)))),
    ],
)
def test_a_query_gets_its_condition(filters: Filters, condition: Condition) -> None:
    filters.check_queries([QUERY])
    assert filters.condition(QUERY) == condition
    assert bool(filters) == (condition != ANY)
    assert bool(filters.facts) == bool(filters)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (Filters(other_cameras=True), "the camera of query nameless is not known: .*--sightings"),
        (Filters(travel=TIMES, times={"q": 1.0, "nameless": 1.0}), "the camera of query nameless"),
        (Filters(travel=TIMES, times={"nameless": 1.0}), "the time of query q is not known"),
    ],
)
def test_what_is_not_known_of_a_query_is_an_error_that_names_it(filters: Filters, message: str) -> None:
    with pytest.raises(DataError, match=message):
        filters.check_queries([QUERY, NAMELESS])
    Filters(frozenset({"c1"}), since_s=1).check_queries([QUERY, NAMELESS])


ENTRIES = [Entry("a"), Entry("b", time_s=1), Entry("c", "c1"), Entry("d", "c2")]


@pytest.mark.parametrize(
    ("filters", "left_out", "message"),
    [
        (Filters(since_s=1), "b", "no entry of store has a time: .*append --sightings FILE"),
        (Filters(travel=TIMES), "b", "no entry of store has a time"),
        (Filters(travel=TIMES), "cd", "no entry of store has a camera: .*append --sightings FILE"),
        (Filters(not_cameras=frozenset({"c2"})), "cd", "no entry of store has a camera"),
        (Filters(other_cameras=True), "cd", "no entry of store has a camera"),
        (Filters(frozenset({"c1"})), "cd", "no entry of store has a camera"),
        (Filters(frozenset({"c1", "c2"})), "c", "no entry of store is of camera 'c1'; there are c2"),
        (Filters(not_cameras=frozenset({"c1", "c2"})), "d", "no entry of store is of camera 'c2'; there are c1"),
        (Filters(travel=TravelTimes({("c9", "c2"): (0, 1)})), "d", r"of the travel times \(c2, c9\); there are c1"),
    ],
)
def test_what_no_entry_has_is_an_error(filters: Filters, left_out: str, message: str) -> None:
    filters.check_gallery("store", ENTRIES)
    with pytest.raises(DataError, match=message):
        filters.check_gallery("store", [entry for entry in ENTRIES if entry.id not in left_out])


def test_no_more_entries_are_looked_at_than_it_takes() -> None:
    def endless() -> Iterator[Entry]:
        yield from ENTRIES
        raise AssertionError

    Filters(frozenset({"c2"}), since_s=1).check_gallery("store", endless())
    Filters().check_gallery("store", endless())
    with pytest.raises(AssertionError):
        Filters(frozenset({"c9"})).check_gallery("store", endless())


def test_travel_times_without_cameras_are_of_no_gallery() -> None:
    with pytest.raises(DataError, match=r"no entry of store is of a camera of the travel times \(none\); there are c1"):
        Filters(travel=TravelTimes({})).check_gallery("store", ENTRIES)


def test_an_error_names_some_cameras_only() -> None:
    entries = [Entry(str(number), f"c{number:02}") for number in range(20)]
    with pytest.raises(DataError, match=r"'c99'; there are c00, c01, .*c07 and 12 more$"):
        Filters(frozenset({"c99"})).check_gallery("store", entries)
