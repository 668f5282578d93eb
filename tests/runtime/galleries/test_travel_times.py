from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from reid.runtime.errors import DataError
from reid.runtime.galleries.conditions import Condition, Travel
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.travel_times import Sighting, TravelTimes

TIMES = TravelTimes({("a", "b"): (10, 60), ("b", "a"): (20, math.inf), ("a", "a"): (300, 900)})


@pytest.mark.parametrize(
    ("camera", "time_s", "allowed"),
    [
        ("b", 1009.9, False),
        ("b", 1010, True),
        ("b", 1060, True),
        ("b", 1060.1, False),
        ("b", 1000, False),
        ("b", 981, False),  # the way from b to a takes 20 s
        ("b", 980, True),
        ("b", -1e9, True),
        ("a", 1000, False),
        ("a", 700, True),
        ("a", 1300, True),
        ("a", 1901, False),
        ("c", 1000, True),  # of which nothing is known
        (None, 1010, False),
        ("c", None, False),
    ],
)
def test_a_vehicle_can_only_be_where_it_had_time_to_get_to(
    camera: str | None, time_s: float | None, allowed: bool
) -> None:
    condition = Condition(travel=Travel(TIMES, Sighting("a", 1000)))
    assert condition.allows(Entry("x", camera, time_s=time_s)) == allowed


def test_travel_times_come_back_from_their_file(tmp_path: Path) -> None:
    TIMES.save(tmp_path / "times.json")
    assert TravelTimes.load(tmp_path / "times.json").limits == TIMES.limits
    assert json.loads((tmp_path / "times.json").read_text())["pairs"][2] == {
        "start": "b",
        "end": "a",
        "least_s": 20,
        "most_s": None,
    }


@pytest.mark.parametrize("limits", [(-1.0, 2.0), (3.0, 2.0), (math.nan, 2.0), (0.0, math.nan)])
def test_times_that_cannot_be_are_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(DataError, match=r"from a to b: .* expected 0 <= least <= most"):
        TravelTimes({("a", "b"): limits})


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ('[{"start": "a", "end": "b", "least_s": 2, "most_s": 1}]', "from a to b: at most 1.0 s, at least 2.0 s"),
        ('[{"start": "a", "end": "b", "least_s": -2}]', "greater than or equal to 0"),
        ('[{"start": "a", "end": "b", "least_s": 1e999}]', "finite"),
        ('[{"start": "a", "end": "b", "least_s": 1}, {"start": "a", "end": "b", "least_s": 1}]', "there twice"),
        ("7", "pairs"),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_line(tmp_path: Path, pairs: str, reason: str) -> None:
    (tmp_path / "times.json").write_text(f'{{"format_version": 1, "pairs": {pairs}}}')
    with pytest.raises(
        DataError, match=rf"list of travel times is not valid \(.*{reason}.*; make it with `reid-gallery learn-travel"
    ):
        TravelTimes.load(tmp_path / "times.json")
