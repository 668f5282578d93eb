"""The page of a result: read as text, and rendered by a real browser."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from bench_results import BATCHES, result, rich_subject, sample, subject
from headless_browser import Browser
from html_page import Page, assert_can_be_heard
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.bench.recommendation import choose
from reid.bench.report.page import draw_page
from reid.bench.report.roofline import intensity
from reid.bench.report.table import result_table
from reid.bench.result import Absent, BenchResult, Quality

HTML = draw_page(sample(), "bundle")


def test_the_recommendation_comes_first_with_its_command() -> None:
    words = Page(HTML).words
    assert words.startswith(
        "bundle take openvino int8, batches of 4 Recommendation Take openvino int8 with batches of 4:"
    )
    assert "reid-infer GALLERY QUERY --model bundle --session openvino --precision int8" in words


def test_the_table_on_the_page_is_the_table() -> None:
    table = result_table(sample(), choose(sample()))
    rows = Page(HTML).rows
    assert ["", *table.head[1:]] in rows
    assert all(list(row) in rows for row in table.rows)


def test_every_part_is_there_and_says_its_numbers() -> None:
    words = Page(HTML).words
    for heading in ("Throughput against mAP (I2I)", "Batch size", "Scenarios", "Roofline", "Energy", "Turns", "Facts"):
        assert heading in words
    page = Page(HTML)
    assert page.named("openvino int8")
    assert ["", "211 ± 6"] in page.named("openvino int8")
    assert ["", "1.90", "0.400", "0.0500", "7.04", "0.0200", "139 ± 4", "98.0 ± 1.0", "model", "0.800"] in page.named(
        "openvino int8"
    )
    assert "processor model AMD EPYC" in words
    assert "onnxruntime int8 failed during batches of 16" in words


def test_what_was_not_measured_leaves_no_empty_section() -> None:
    plain = result(subject("a fp32", 50, quality=None, start=None, memory_mib={}))
    words = Page(draw_page(plain, "t")).words
    for heading in ("Throughput against", "Scenarios", "Roofline", "Energy", "Start", "From JPEG"):
        assert heading not in words
    nothing = result(absent=(Absent(name="tensorrt", reason="no GPU"),))
    words = Page(draw_page(nothing, "t")).words
    assert words.startswith("t nothing works Recommendation No session works here")
    assert "tensorrt was not measured: no GPU" in words


def test_a_strip_says_how_many_turns_were_disturbed_and_draws_them_apart() -> None:
    strips = re.findall(r'<svg class="strip".*?</svg>', HTML)
    assert len(strips) == 6 * len(BATCHES)
    for strip in strips:
        counted, disturbed = (re.search(rf'class="{name}" d="([^"]*)"', strip) for name in ("turns", "disturbed"))
        assert counted
        assert disturbed
        assert (counted[1].count("M"), disturbed[1].count("M")) == (20, 4)
        assert "4 of 24 turns disturbed: 3 because other processes were busy" in strip


def test_the_ring_is_on_what_is_taken() -> None:
    (ringed,) = re.findall(r'<circle class="ring".*?<text[^>]*>(.*?)</text>', HTML)
    assert ringed == "openvino int8"


def test_a_subject_has_one_color_everywhere() -> None:
    found = re.findall(r'<li class="(series-\d line-\d)">.*?</svg>(.*?)</li>', HTML)
    assert [name for _, name in found] == [one.name for one in sample().subjects if one.batches]
    for kind, name in found:
        assert len(set(re.findall(rf'<g class="([^"]*)"><circle[^>]*><title>{name}:', HTML)) - {kind}) == 0


def test_the_intensity_counts_weights_once_a_batch() -> None:
    cost = sample().costs["fp32"]
    for frames in (1, 8):
        moved = cost.weight_bytes + frames * cost.activation_bytes
        assert intensity(cost, frames) == pytest.approx(frames * cost.flops / moved)


hostile = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1) | st.sampled_from(
    ['"><script>alert(1)</script>', "</table></main>", "'&amp;", "]]>", "<!--", "{0}"]
)


@settings(max_examples=15, deadline=None)
@given(hostile, hostile)
def test_whatever_the_names_the_page_keeps_its_structure(name: str, other: str) -> None:
    def structure(name: str, other: str) -> list[str]:
        quality = Quality(map_percent={other: 84.2})
        first = rich_subject(f"{name} 1", 50, precision="fp32", quality=quality, backend=other, model=other)
        second = subject(f"{name} 2", 150, precision="int8", kind="peer", device=name)
        made: BenchResult = result(
            first,
            second,
            absent=(Absent(name=name, reason=other),),
            notes=(other,),
            peer=name,
            command=name,
            started=name,
        )
        return [tag for tag, _ in Page(draw_page(made, name)).tags]

    assert structure(name, other) == structure("n", "o")


def test_the_page_asks_nothing_of_the_network() -> None:
    page = Page(HTML)
    assert not re.search(r"https?:|//\w|@import|url\(", HTML)
    assert not page.all("script") + page.all("link") + page.all("iframe") + page.all("img")


def test_the_page_can_be_heard() -> None:
    assert_can_be_heard(HTML)
    figures = re.findall(r"<figure>.*?</figure>", HTML, re.DOTALL)
    assert len(figures) == 4
    for figure in figures:
        described = re.search(r"<desc>(.*?)</desc>", figure)
        assert described
        assert "openvino int8" in described[1]


@pytest.mark.parametrize("spread", [1.0, 1e-9, 1e6])
def test_any_range_of_figures_can_be_drawn(spread: float) -> None:
    made = result(*(rich_subject(f"{n} fp32", 10 * spread ** (n / 3)) for n in range(4)), costs=sample().costs)
    html = draw_page(made.model_copy(update={"roofline": sample().roofline}), "t")
    places = re.findall(r'(?:cx|cy|x|y)="(-?[\d.]+|nan|inf)"', html)
    assert places
    assert all(math.isfinite(float(place)) for place in places)


# In a real browser


@pytest.mark.browser
def test_a_browser_renders_all_of_it_on_a_narrow_screen(browser: Browser, tmp_path: Path) -> None:
    made = sample()
    long = rich_subject("a-session-with-quite-a-long-name:cuda fp16", 300, quality=Quality(map_percent={"i2i": 84.2}))
    many = [subject(f"session{n} fp32", 40 + n) for n in range(6)]
    html = draw_page(made.model_copy(update={"subjects": (*made.subjects, long, *many)}), "t" * 200)
    found = browser.probe(
        html,
        tmp_path / "probe.html",
        500,
        outside='all("figure .chart").map(outside).reduce((a, b) => a + b)',
        covered='all("figure .label").filter((one, n, labels) => labels.slice(n + 1).some(other => '
        "one.closest('svg') === other.closest('svg') && box(one).left < box(other).right - 1 && "
        "box(other).left < box(one).right - 1 && box(one).top < box(other).bottom - 6 && "
        "box(other).top < box(one).bottom - 6)).length",
        adviceInSight='box(all(".advice code")[0]).bottom < innerHeight',
    )
    assert found == {
        "images": 0,
        "decoded": 0,
        "dangling": 0,
        "overflow": 0,
        "outside": 0,
        "covered": 0,
        "adviceInSight": True,
        "errors": [],
    }
