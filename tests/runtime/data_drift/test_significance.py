"""Student's t beside its closed forms, Holm's correction beside its definition, running sums beside numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reid.runtime.data_drift.significance import holm, t_p_value
from reid.runtime.data_drift.sums import Measured, Sums


@pytest.mark.parametrize("t", [0.0, 0.3, -2.0, 7.5, 40.0])
def test_t_with_few_degrees_of_freedom_has_closed_forms(t: float) -> None:
    assert t_p_value(t, 1) == pytest.approx(1 - 2 * math.atan(abs(t)) / math.pi, rel=1e-6)
    assert t_p_value(t, 2) == pytest.approx(1 - abs(t) / math.sqrt(2 + t * t), rel=1e-6)


def test_t_with_many_degrees_of_freedom_is_nearly_normal() -> None:
    assert t_p_value(1.959964, 10_000) == pytest.approx(0.05, rel=0.04)
    assert t_p_value(8.0, 1e9) < 1e-12


def test_holm_stops_at_the_first_that_is_not_significant() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_sums_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(3, 2, 500)
    found = sums_of(values.tolist())
    assert found.count == 500
    assert (found.mean, found.deviation) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert found.independent > 400


def test_images_of_the_same_tracklets_count_as_their_tracklets() -> None:
    # Ten images of each of 100 vehicles, which differ by little: the mean is as sure as that of 100 or so.
    random = np.random.default_rng(1)
    values = np.repeat(random.normal(size=100), 10) + random.normal(scale=0.1, size=1000)
    assert 80 <= sums_of(values.tolist()).independent <= 130


def test_one_value_says_nothing() -> None:
    sums = Sums()
    assert sums.measured() is None
    sums.add(1.0)
    assert sums.measured() is None


def sums_of(values: list[float]) -> Measured:
    sums = Sums()
    for value in values:
        sums.add(value)
    found = sums.measured()
    assert found is not None
    return found
