"""Logarithmic axes against their definition."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from reid.pages.charts import LogAxis, power_of_ten


@pytest.mark.parametrize(("start", "end"), [(50.0, 450.0), (250.0, 30.0)])
def test_a_decade_is_as_long_as_any_other_in_either_direction(start: float, end: float) -> None:
    axis = LogAxis(-6, -2, start, end)
    assert axis.place(1e-6) == pytest.approx(start)
    assert axis.place(1e-2) == pytest.approx(end)
    places = [axis.place(10.0**exponent) for exponent in axis.decades()]
    assert [b - a for a, b in pairwise(places)] == pytest.approx([(end - start) / 4] * 4)
    assert axis.place(math.sqrt(1e-6 * 1e-2)) == pytest.approx((start + end) / 2)


@pytest.mark.parametrize(
    ("first", "last", "decades"),
    [(-7, 0, range(-7, 1)), (-6.5, -1.2, range(-6, -1)), (math.log10(1e-7), math.log10(0.1), range(-7, 0))],
)
def test_the_decades_are_the_powers_of_ten_on_the_axis(first: float, last: float, decades: range) -> None:
    assert LogAxis(first, last, 0, 1).decades() == decades


def test_powers_are_written_as_people_write_them() -> None:
    assert [power_of_ten(exponent) for exponent in (-12, -3, 0, 1, 5)] == ["10⁻¹²", "10⁻³", "1", "10¹", "10⁵"]
