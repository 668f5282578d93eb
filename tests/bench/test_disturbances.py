from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.bench.disturbances import CALM, LIMIT, disturbances, steady_disturbances
from reid.bench.meters.turns import Reading

CALM_TURN = Reading(
    seconds=0.25,
    energy_j=None,
    clock_mhz=3000.0,
    usable_cores=2,
    own_cores=1.0,
    others_cores=0.1,
    waited_share=0.01,
    stolen_share=0.0,
    throttled={},
)
BUSY = replace(CALM_TURN, waited_share=0.45, others_cores=1.6)
STOLEN = replace(CALM_TURN, stolen_share=0.2)
HOT = replace(CALM_TURN, throttled={"CPU: temperature": 0.3})
SLOW = replace(CALM_TURN, clock_mhz=2400.0)


def test_each_disturbance_is_named_and_calm_turns_count() -> None:
    turns = [*[CALM_TURN] * 8, BUSY, STOLEN, HOT, SLOW, replace(BUSY, stolen_share=0.3)]
    assert disturbances(turns) == [
        *[()] * 8,
        ("busy_neighbor",),
        ("stolen",),
        ("throttled",),
        ("throttled",),
        ("busy_neighbor", "stolen"),
    ]
    assert steady_disturbances(turns) == ()


def test_a_neighbor_that_is_there_most_of_the_time_is_found() -> None:
    turns = [*[BUSY] * 80, *[CALM_TURN] * 20]
    assert disturbances(turns) == [*[("busy_neighbor",)] * 80, *[()] * 20]


def test_a_neighbor_that_is_always_there_is_said_instead() -> None:
    turns = [BUSY] * 20
    assert disturbances(turns) == [()] * 20
    assert steady_disturbances(turns) == ("busy_neighbor",)
    assert steady_disturbances([HOT] * 20) == ("throttled",)


def test_on_a_busy_machine_the_same_slowdown_is_marked_as_on_a_calm_one() -> None:
    """From a share of 0.70 to one of 0.75, a turn takes 1.2 times as long."""
    usual, worse = (replace(BUSY, waited_share=share) for share in (0.70, 0.75))
    assert disturbances([*[usual] * 8, worse]) == [*[()] * 8, ("busy_neighbor",)]


def test_neighbors_on_free_cores_disturb_nobody() -> None:
    beside = replace(CALM_TURN, usable_cores=16, others_cores=9.0)
    assert disturbances([*[CALM_TURN] * 5, beside]) == [()] * 6


def test_without_the_kernels_count_of_waiting_cores_that_two_want_tell() -> None:
    calm, busy, beside = (replace(CALM_TURN, waited_share=None, others_cores=others) for others in (0.0, 1.6, 1.0))
    assert disturbances([*[calm] * 8, busy, beside]) == [*[()] * 8, ("busy_neighbor",), ()]


def test_meters_that_tell_nothing_mark_nothing() -> None:
    blind = replace(CALM_TURN, clock_mhz=None, own_cores=None, others_cores=None, waited_share=None, stolen_share=None)
    assert disturbances([blind] * 3) == [()] * 3
    assert disturbances([]) == []
    assert steady_disturbances([]) == ()


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_the_marked_turns_lost_more_than_those_that_count(shares: list[float]) -> None:
    marked = [bool(found) for found in disturbances([replace(CALM_TURN, waited_share=share) for share in shares])]
    most = max(share for share, found in zip(shares, marked, strict=True) if not found)
    least = min((share for share, found in zip(shares, marked, strict=True) if found), default=2.0)
    assert most < least
    assert 1 - most >= (1 - np.quantile(shares, CALM)) * (1 - LIMIT)
    assert least == 2.0 or 1 - least < (1 - np.quantile(shares, CALM)) * (1 - LIMIT)
    assert not all(marked)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_marked_is_what_took_longer(seed: int) -> None:
    """Simulated: a turn that loses the share x takes 1 / (1 - x) times as long, with 2 % of other noise."""
    random = np.random.default_rng(seed)
    lost = np.where(random.random(200) < 0.4, random.uniform(0.0, 0.6, 200), 0.005)
    times = random.normal(1.0, 0.02, 200) / (1 - lost)
    found = disturbances([replace(CALM_TURN, waited_share=float(share)) for share in lost])
    marked = np.array([bool(kinds) for kinds in found])
    assert np.median(times[~marked]) == pytest.approx(1.0, rel=0.01)
    assert times[~marked].max() < 1.2
    assert times[marked].min() > 1.05
