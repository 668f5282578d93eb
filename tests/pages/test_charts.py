"""Logarithmic axes against their definition."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from reid.pages.charts import Area, LogAxis, across_at, log_ticks, power_of_ten


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


@pytest.mark.parametrize(
    ("low", "high", "numbers"),
    [
        (20, 142, [20, 50, 100, 200]),
        (1, 1, [1, 2]),
        (0.3, 7, [0.2, 0.5, 1, 2, 5, 10]),
        (3, 3000, [3, 10, 30, 100, 300, 1000, 3000]),
        (1e-3, 1e9, [10.0**n for n in range(-3, 10)]),
    ],
)
def test_a_logarithmic_axis_has_few_round_numbers_that_cover_all(low: float, high: float, numbers: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(numbers)


@pytest.mark.parametrize("low", [1e-6, 0.07, 0.1, 3.0, 999.999, 1000.0])
@pytest.mark.parametrize("span", [1.0, 1.01, 7.0, 1e3, 1e7])
def test_round_numbers_cover_any_range(low: float, span: float) -> None:
    numbers = log_ticks(low, low * span)
    assert numbers[0] <= low * (1 + 1e-6)
    assert numbers[-1] >= low * span * (1 - 1e-6)
    assert len(numbers) >= 2
    assert len(numbers) <= max(7, math.log10(span) + 3)


def test_the_label_of_the_right_end_stays_in_the_drawing() -> None:
    area = Area(0, 1, 0, 1)
    assert f'x="{area.x(0.5):.1f}"' in across_at({0.5: "1,000,000"}, area)
    assert f'x="{area.x(1):.1f}"' not in across_at({1: "1,000,000"}, area)
