"""Verdicts against their definition, Holm's procedure against a second one, and what settles an undecided one."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.evaluation.verification.judgment import ERROR_RATE, judge, judge_protocols
from reid.evaluation.verification.measurements import Flips, MeasuredProtocol, Measurement
from reid.evaluation.verification.records import Change
from reid.evaluation.verification.significance import mcnemar_p_value, proportion_interval


def fall(points: float, p_value: float, half_width: float = 0.2, allowed: float = 0.5) -> Measurement:
    interval = (-points - half_width, -points + half_width)
    return Measurement("mAP", 60.0, 60.0 - points, interval, p_value, allowed, queries=400)


def flips(lost: int, gained: int, queries: int, allowed: float = 0.5) -> Measurement:
    found = Flips(lost, gained)
    change = 100 * (gained - lost) / queries
    p_value = mcnemar_p_value(lost, gained)
    return Measurement("R-1", 90.0, 90.0 + change, found.interval(queries), p_value, allowed, queries, found)


def verdict(one: Measurement) -> str:
    (change,) = judge([one])
    return change.verdict


def test_outside_is_a_fall_beyond_tolerance_that_is_no_chance() -> None:
    assert verdict(fall(0.9, 0.001)) == "outside"
    assert verdict(fall(0.9, 0.02)) == "undecided"  # large, and perhaps chance
    assert verdict(fall(0.4, 0.0001)) == "undecided"  # real, and perhaps larger than the tolerance
    assert verdict(fall(0.2, 0.0001)) == "within"  # real, and small
    assert verdict(fall(-0.9, 1.0)) == "within"
    assert verdict(fall(0.5, 1e-9, half_width=0.0)) == "within"  # exactly what is allowed


def test_a_rise_is_the_fault_where_lower_is_better() -> None:
    risen = Measurement("FMR@1e-3", 0.1, 0.4, (0.25, 0.6), 0.001, 0.1, 400, lower_is_better=True)
    assert verdict(risen) == "outside"
    assert verdict(replace(risen, candidate=0.02, interval=(-0.1, 0.05))) == "within"
    assert verdict(replace(risen, p_value=0.2)) == "undecided"


def test_what_fell_by_chance_alone_is_chance_among_twelve() -> None:
    lone, crowd = fall(0.9, 0.009), [fall(0.0, 0.9) for _ in range(11)]
    assert verdict(lone) == "outside"
    assert judge([lone, *crowd])[0].verdict == "undecided"
    assert judge([fall(0.9, 0.0008), *crowd])[0].verdict == "outside"


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8))
def test_holm_refuses_what_the_step_down_procedure_refuses(p_values: list[float]) -> None:
    refused: set[int] = set()
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        if p_values[index] * (len(p_values) - place) >= ERROR_RATE:
            break
        refused.add(index)
    found = judge([fall(0.9, p) for p in p_values])
    assert {index for index, change in enumerate(found) if change.verdict == "outside"} == refused


def test_together_they_are_wrong_no_more_often_than_stated() -> None:
    random, trials = np.random.default_rng(0), 2000
    # Under chance p-values are uniform; all falls are as large as can be.
    wrong = sum(
        any(change.verdict == "outside" for change in judge([fall(9, p) for p in random.uniform(size=12)]))
        for _ in range(trials)
    )
    assert wrong / trials <= ERROR_RATE + 0.01


@given(lost=st.integers(0, 12), gained=st.integers(0, 12), queries=st.integers(40, 3000))
def test_so_many_queries_settle_it(lost: int, gained: int, queries: int) -> None:
    (change,) = judge([flips(lost, gained, queries)])
    if change.settled_by is None:
        return
    assert change.verdict == "undecided"
    times = change.settled_by / queries
    assert times >= 1
    if gained - lost < -0.005 * queries:  # it would be outside
        more = ceil(times * 1.1)
        assert verdict(flips(lost * more, gained * more, queries * more)) == "outside"
    else:
        low, _ = proportion_interval(lost * times, gained * times, change.settled_by)
        assert 100 * low >= -0.5 - 1e-9
        fewer, _ = proportion_interval(lost * times * 0.98, gained * times * 0.98, change.settled_by * 0.98)
        assert 100 * fewer < -0.5 or times < 1.03


def test_without_any_flip_some_765_queries_settle_half_a_point() -> None:
    (change,) = judge([flips(0, 0, 50)])
    assert (change.verdict, change.settled_by) == ("undecided", pytest.approx(765, abs=2))
    assert judge([flips(0, 0, 770)])[0].verdict == "within"


def test_an_interval_narrows_with_the_root_of_the_queries() -> None:
    (change,) = judge([fall(0.3, 0.01, half_width=0.4)])
    assert change.settled_by == 1600  # half the width needs four times the queries
    assert judge([fall(0.5, 0.01)])[0].settled_by is None  # exactly at the tolerance: no number decides
    (unlikely,) = judge([fall(0.9, 0.5)])
    assert unlikely.settled_by is None


def test_protocols_are_judged_together_and_come_back_whole() -> None:
    one = MeasuredProtocol("i2i", "plain", (fall(0.9, 0.0008), fall(0, 0.5)), 1.5, 400)
    other = MeasuredProtocol("t2t", "re-ranking", tuple(fall(0, 0.5) for _ in range(12)), 2.5, 300)
    found = judge_protocols([one, other])
    assert [(c.protocol, c.post_processing, len(c.changes), c.queries) for c in found] == [
        ("i2i", "plain", 2, 400),
        ("t2t", "re-ranking", 12, 300),
    ]
    assert found[0].changes[0].verdict == "undecided"  # p = 0.0008 is not enough among 14
    assert judge_protocols([one])[0].changes[0].verdict == "outside"
    assert isinstance(found[0].change("mAP"), Change)
