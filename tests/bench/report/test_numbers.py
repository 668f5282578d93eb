"""Figures as people read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.bench.records import Estimate
from reid.bench.report.numbers import estimated, figure, plural


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.04123, "0.0412"),
        (1.005, "1.00"),
        (41.25, "41.2"),
        (99.96, "100"),
        (412.4, "412"),
        (41234, "41,234"),
    ],
)
def test_a_figure_has_three_digits_or_its_whole_part(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (412.3, 403.2, 421.4, "412 ± 9"),
        (412.3, 411.1, 413.5, "412.3 ± 1.2"),
        (32.52, 31.5444, 33.4956, "32.5 ± 1.0"),
        (412.3, 405, 440, "412 (405 to 440)"),
        (4123, 3983, 4263, "4,123 ± 140"),
        (0.8321, 0.828, 0.836, "0.832 ± 0.004"),
        (412.3, 412.3, 412.3, "412"),
        (412.3, 412.29999, 412.30001, "412.30"),
        (5, 0, 40, "5 (0 to 40)"),
    ],
)
def test_an_interval_says_how_many_digits_count(value: float, low: float, high: float, text: str) -> None:
    assert estimated(Estimate(value=value, low=low, high=high)) == text


positive = st.floats(1e-3, 1e6)


@given(positive, st.floats(1, 3), st.floats(1, 3))
def test_what_is_written_is_what_was_measured_within_its_own_interval(value: float, down: float, up: float) -> None:
    one = Estimate(value=value, low=value / down, high=value * up)
    arm = max(one.high - one.value, one.value - one.low)
    written = [float(number.replace(",", "")) for number in re.findall(r"[\d.,]+", estimated(one))]
    assert written[0] == pytest.approx(value, abs=0.5 * arm + 0.005 * value)
    if "±" in estimated(one):
        assert written[1] == pytest.approx(arm, rel=0.5)
    elif "to" in estimated(one):
        assert written[1:] == pytest.approx([one.low, one.high], abs=0.5 * arm)


def test_nouns_agree() -> None:
    assert [plural(1, "camera"), plural(1234, "camera"), plural(2, "batch")] == [
        "1 camera",
        "1,234 cameras",
        "2 batches",
    ]
