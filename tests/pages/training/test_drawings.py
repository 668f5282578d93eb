"""Curves and histograms are drawn where the numbers say."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from html_page import Page
from hypothesis import given
from hypothesis import strategies as st

from reid.evaluation.pairs import ALL_LEVELS, BINS_PER_UNIT, PairDistances
from reid.pages.charts import ticks
from reid.pages.training.curves import draw_curves
from reid.pages.training.histograms import draw_norms, draw_pairs

LEFT, RIGHT, TOP, FLOOR = 56, 408, 32, 186

finite = st.floats(-1e6, 1e6, allow_subnormal=False).filter(lambda value: value == 0 or abs(value) > 1e-6)


@given(finite, finite)
def test_ticks_are_few_and_even_and_hold_the_values_between_them(a: float, b: float) -> None:
    low, high = sorted((a, b))
    if 0 < high - low < 1e-6 * max(abs(low), abs(high)):
        high = low
    found = ticks(low, high)
    room = 1e-6 * (found[1] - found[0])
    assert found[0] <= low + room
    assert found[-1] >= high - room
    assert 2 <= len(found) <= 8
    np.testing.assert_allclose(np.diff(found), found[1] - found[0], rtol=1e-5)
    mantissa = (found[1] - found[0]) / 10 ** math.floor(math.log10(found[1] - found[0]) + 1e-6)
    assert min(abs(mantissa - nice) for nice in (1, 2, 2.5, 5, 10)) < 1e-4


@given(st.integers(1, 5000))
def test_ticks_of_epochs_are_whole(last: int) -> None:
    assert all(tick == int(tick) for tick in ticks(1, last, whole=True))


def lines(html: str) -> list[str]:
    """The paths of lines, without those of the legend."""
    paths = [path for path in Page(html).all("path") if path.get("class") == "line"]
    return [path["d"] or "" for path in paths if not (path["d"] or "").endswith("h18")]


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def curves(values: list[float | None], **options: Any) -> str:  # noqa: ANN401 - draw_curves' own
    rows = [{"epoch": n, "train": {} if v is None else {"loss": v}} for n, v in enumerate(values, start=1)]
    return draw_curves("Loss", rows, {"all": ("train", "loss"), "none": ("held_out", "x")}, **{"best": 1, **options})


def test_a_curve_is_where_its_values_are() -> None:
    html = curves([4.0, 1.0, 2.5, 0.0])
    (path,) = lines(html)
    assert path.count("M") == 1
    drawn = points(path)
    assert np.diff([x for x, _ in drawn]) == pytest.approx([(RIGHT - LEFT) / 4] * 3, abs=0.2)
    assert [y for _, y in drawn] == pytest.approx([FLOOR - v / 4 * (FLOOR - TOP) for v in (4, 1, 2.5, 0)], abs=0.1)
    (limit,) = [path["d"] or "" for path in Page(html).all("path") if path.get("class") == "limit"]
    assert points(limit)[0][0] == drawn[0][0]
    words = Page(html).words
    assert "all: 4 at first, 0 at last, 0 to 4" in words
    assert "epoch 3 all 2.5" in words
    assert "none" not in words


def test_an_epoch_without_a_value_leaves_a_gap() -> None:
    (path,) = lines(curves([1.0, None, 3.0, 2.0]))
    assert re.sub(r"[^ML]", "", path) == "MML"
    assert curves([None, None]) == ""


@pytest.mark.parametrize("values", [[0.0], [3.0], [5.0, 5.0], [-2.0, 1e-9], [1e6, 2e6]])
def test_any_values_stay_within_the_area(values: list[float]) -> None:
    (path,) = lines(curves(list(values)))
    assert len(points(path)) == len(values)
    assert all(LEFT <= x <= RIGHT and TOP - 0.1 <= y <= FLOOR + 0.1 for x, y in points(path))


def counts(distances: list[float]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.bincount((np.array(distances) * BINS_PER_UNIT).astype(int), minlength=2 * BINS_PER_UNIT)


def heights(path: str) -> list[float]:
    """The heights of a histogram's bars in units of the drawing."""
    return [FLOOR - float(y) for y in re.findall(r"V([\d.]+)H", path)]


def test_the_bars_hold_all_pairs() -> None:
    random = np.random.default_rng(0)
    near, far = random.uniform(0.2, 0.9, 500).tolist(), random.uniform(0.5, 1.4, 4000).tolist()
    pairs = PairDistances("level4", counts(near), counts(far))
    html = draw_pairs([pairs], (0.8, 1.2))
    drawn = [np.array(heights(path)) for path in lines(html)]
    top = max(float(text) for text in re.findall(r'class="count"[^>]*>([\d.]+)<', html))
    for bars in drawn:
        assert (bars * top / (FLOOR - TOP)).sum() == pytest.approx(100, abs=1)
        assert len(bars) <= 51
    assert f"level4: AUC {100 * pairs.auc:.2f} %" in html
    expected = (np.median(near), np.median(far))
    told = re.findall(r"negative pairs? ?([\d.]+)\.|positive pairs ([\d.]+),", Page(html).words)
    assert [float(a or b) for a, b in told] == pytest.approx(expected, abs=2e-3)
    limits = [path["d"] or "" for path in Page(html).all("path") if path.get("class") == "limit"]
    places = [points(limit)[0][0] for limit in limits]
    assert len(places) == 2
    assert (places[1] - places[0]) / (RIGHT - LEFT) == pytest.approx(0.4 / 1.2, rel=0.05)


def test_boundaries_apply_to_single_levels() -> None:
    both = [PairDistances(name, counts([0.1]), counts([1.9])) for name in ("level4", ALL_LEVELS)]
    html = draw_pairs(both, (0.8, 1.2))
    assert html.count('class="limit"') == 2


@pytest.mark.parametrize("distance", [0.0, 1.0, 1.9995])
def test_equal_distances_are_drawn(distance: float) -> None:
    html = draw_pairs([PairDistances("level4", counts([distance]), counts([distance]))], ())
    assert "AUC 50.00 %" in html
    assert all(max(heights(path)) == pytest.approx(FLOOR - TOP) for path in lines(html))


@pytest.mark.parametrize("lengths", [[3.0], [0.0, 0.0], [1.0, 2.0, 9.0]])
def test_norms_are_drawn_with_mean_and_spread(lengths: list[float]) -> None:
    html = draw_norms("level3", np.array(lengths, np.float32))
    assert f"level3: norm {np.mean(lengths):.3g} ± {np.std(lengths):.2g}" in Page(html).words
    assert sum(height > 0 for height in heights(lines(html)[0])) == len(set(lengths))
