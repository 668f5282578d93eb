"""The drawings of operating points: what they say, and where they say it."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from headless_browser import Browser
from html_page import Page
from scored_vehicles import vehicle_pairs

from reid.evaluation.operating_points.distributions import ScoreDistributions, score_distributions
from reid.evaluation.operating_points.resampling import Draw
from reid.pages.base import CHARTS, SECTIONS, head
from reid.pages.operating_point import draw_distributions, draw_rate_curves, operating_point_drawings


@pytest.fixture(scope="module")
def scores() -> ScoreDistributions:
    return score_distributions(vehicle_pairs(seed=0, vehicles=60), "i2i")


def test_distributions_count_every_pair_and_the_curve_goes_through_the_points(scores: ScoreDistributions) -> None:
    pairs = vehicle_pairs(seed=0, vehicles=60)
    assert sum(scores.genuine) == 60 * 5
    assert sum(scores.impostor) == 60 * 59 * 5
    curve = {point.false_match_rate: point for point in scores.curve}
    for point in scores.points:
        if point.threshold is not None and point.true_match_rate is not None:
            assert curve[point.false_match_rate].threshold == point.threshold.value
            assert curve[point.false_match_rate].true_match_rate == point.true_match_rate.value
    for before, after in pairwise(scores.curve):
        assert before.true_match_rate <= after.true_match_rate
        assert before.threshold >= after.threshold
    assert all(
        100 * one.false_match_rate >= Draw(pairs).false_match_rate(round(one.threshold * 1e6)) for one in scores.curve
    )
    assert ScoreDistributions.model_validate_json(scores.model_dump_json()) == scores


def test_a_curve_that_does_not_ascend_is_refused(scores: ScoreDistributions) -> None:
    facts = scores.model_dump()
    with pytest.raises(ValueError, match="do not ascend"):
        ScoreDistributions.model_validate({**facts, "curve": facts["curve"][::-1]})


def test_every_threshold_is_drawn_where_it_is(scores: ScoreDistributions) -> None:
    page = Page(draw_distributions("I2I, fp16", scores))
    lines = [tag["d"] for tag in page.all("path") if tag.get("class") == "limit"]
    thresholds = [point.threshold.value for point in scores.points if point.threshold is not None]
    assert len(lines) == len(thresholds) == 2
    ticks = {
        float(x): float(value) for x, value in re.findall(r'class="tick" x="([\d.]+)" y="204">(-?[\d.]+)<', page.html)
    }
    (left, first), *_, (right, last) = sorted(ticks.items())
    for line, threshold in zip(lines, thresholds, strict=True):
        place = float((line or "").removeprefix("M").split()[0])
        assert first + (place - left) / (right - left) * (last - first) == pytest.approx(threshold, abs=1e-3)
    assert "300 pairs of the same vehicle, 17,700 of different vehicles" in page.text
    assert f"false-match rate 1e-2: from {thresholds[0]:.4f} on" in page.text


def test_models_are_drawn_side_by_side(scores: ScoreDistributions) -> None:
    page = Page(draw_rate_curves("i2i", {"PyTorch": scores, "fp16": scores}))
    assert len(page.all("circle")) == 2 * 2
    assert "PyTorch" in page.text
    assert "fp16" in page.text
    section = Page(operating_point_drawings({"PyTorch": [scores], "fp16": [scores]}))
    assert len(section.all("figure")) == 3


def test_without_scores_there_is_nothing_to_see() -> None:
    nothing = score_distributions(vehicle_pairs(seed=0, vehicles=1), "t2t")
    assert operating_point_drawings({}) == ""
    assert draw_rate_curves("t2t", {"fp16": nothing}) == ""
    assert nothing.curve == ()


@pytest.mark.browser
def test_a_browser_keeps_every_word_within_its_drawing(
    browser: Browser, scores: ScoreDistributions, tmp_path: Path
) -> None:
    drawn = operating_point_drawings({"PyTorch": [scores], "fp16": [scores]})
    html = f"{head('Scores', SECTIONS, CHARTS)}<main>{drawn}</main></body></html>"
    found = browser.probe(html, tmp_path / "probe.html", 1000, outside='all(".chart").map(outside)')
    assert (found["errors"], found["overflow"], found["outside"]) == ([], 0, [0, 0, 0])
