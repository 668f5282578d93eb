"""The page of ranked lists: read as text, and rendered by a real browser."""

import base64
import itertools
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from headless_browser import Browser
from html_page import Page, assert_asks_nothing_of_the_network, assert_can_be_heard
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.pages.ranked_lists import write_report
from reid.runtime.galleries.entry import Entry, entry_of
from reid.runtime.galleries.ranked_lists import Match, Ranking
from reid.runtime.tracklet import Frame, Tracklet

FOLDER, NUMBERS = tempfile.TemporaryDirectory(), itertools.count()
FACTS = {"Model": "resnet50", "Session": "onnxruntime"}
MAGENTA = (255, 0, 255)


def picture(color: tuple[int, int, int] = (90, 120, 200), size: tuple[int, int] = (30, 40)) -> Path:
    """Return a file of its own."""
    path = Path(FOLDER.name) / f"{next(NUMBERS)}.png"
    cv2.imwrite(str(path), np.full((*size, 3), color[::-1], np.uint8))
    return path


def tracklet(name: str, vehicle: str | None = None, camera: str | None = None, *frames: Frame) -> Tracklet:
    return Tracklet(name, frames or (picture(),), camera, vehicle)


def ranking(query: Tracklet, *matches: Tracklet) -> Ranking:
    return Ranking(query, tuple(Match(entry_of(match), 0.9 - 0.1 * rank) for rank, match in enumerate(matches)))


def known_rankings() -> list[Ranking]:
    """Vehicles and cameras in all combinations, ranked without regard to either."""
    gallery = [tracklet(f"g{v}{c}", str(v), f"c{c}") for v in range(4) for c in range(3)]
    gallery.append(tracklet("stranger", None, "c1"))
    order = np.random.default_rng(0)
    return [
        ranking(tracklet(f"q{v}{c}", str(v), f"c{c}"), *(gallery[i] for i in order.permutation(13)[:5]))
        for v in range(4)
        for c in range(3)
    ]


def marks(page: Page) -> list[list[str]]:
    """The class of every match, a list per query."""
    rows: list[list[str]] = []
    for tag, attributes in page.tags:
        if tag == "article":
            rows.append([])
        elif tag == "li" and rows:
            rows[-1].append((attributes["class"] or "").removeprefix("card "))
    return rows


def write(path: Path, rankings: list[Ranking], **options: Any) -> str:  # noqa: ANN401 - write_report's own
    settings = {"title": "Ranked lists", "facts": FACTS, "unreadable": [], **options}
    write_report(path, rankings, **settings)
    return path.read_text(encoding="utf-8")


def page_of(tmp_path: Path, rankings: list[Ranking], **options: Any) -> Page:  # noqa: ANN401
    return Page(write(tmp_path / "report.html", rankings, **options))


def decoded(uri: str | None) -> NDArray[np.uint8]:
    kind, _, data = (uri or "").partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR))


def test_marks_are_those_of_a_naive_comparison(tmp_path: Path) -> None:
    def naive(query: Tracklet, match: Entry) -> str:
        if match.vehicle is None:
            return "unknown"
        if query.vehicle != match.vehicle:
            return "wrong"
        return "same-camera" if query.camera == match.camera else "right"

    rankings = known_rankings()
    expected = [[naive(r.query, m.entry) for m in r.matches] for r in rankings]
    page = page_of(tmp_path, rankings)
    assert marks(page) == expected
    assert {mark for row in expected for mark in row} == {"right", "wrong", "same-camera", "unknown"}
    # Not by color alone; the legend names each of them once more.
    drawn = [use["href"] for use in page.all("use")]
    assert drawn.count("#right") == sum(row.count("right") for row in expected) + 1
    assert drawn.count("#wrong") == sum(row.count("wrong") for row in expected) + 1
    assert page.text.count("same camera") == sum(row.count("same-camera") for row in expected) + 1


def test_share_and_filter_agree_with_the_marks(tmp_path: Path) -> None:
    page = page_of(tmp_path, known_rankings())
    firsts = [next((mark for mark in row if mark != "same-camera"), "unknown") for row in marks(page)]
    right, wrong = firsts.count("right"), firsts.count("wrong")
    assert right
    assert wrong
    assert f"{right / (right + wrong):.1%} first match right {right} of {right + wrong}" in page.text
    assert f"first match wrong {wrong}" in page.text
    missed = ["missed" in (article["class"] or "") for article in page.all("article")]
    assert missed == [first == "wrong" for first in firsts]


def test_a_line_stands_before_what_does_not_reach_the_threshold(tmp_path: Path) -> None:
    rankings = [ranking(tracklet("q"), tracklet("a"), tracklet("b"), tracklet("c")).decided(t) for t in (0.75, 0.95, 0)]
    page = page_of(tmp_path, rankings)
    assert marks(page) == [
        ["unknown", "unknown", "threshold", "unknown"],
        ["threshold", "unknown", "unknown", "unknown"],
        ["unknown", "unknown", "unknown"],
    ]
    assert page.text.count("no match: a new vehicle") == page.text.count("below the threshold") == 1
    assert "behind the line" in page.words
    assert "behind the line" not in page_of(tmp_path, [ranking(tracklet("q"), tracklet("a"))]).words


def test_without_identities_nothing_is_judged(tmp_path: Path) -> None:
    page = page_of(tmp_path, [ranking(tracklet("q"), tracklet("a"), tracklet("b"))])
    assert marks(page) == [["unknown", "unknown"]]
    assert "first match" not in page.text
    assert not page.all("input")


def test_the_filter_is_off_when_no_first_match_is_wrong(tmp_path: Path) -> None:
    page = page_of(tmp_path, [ranking(tracklet("q", "1", "a"), tracklet("g", "1", "b"))])
    assert "disabled" in page.all("input")[1]


def test_limit_shows_the_first_and_counts_all(tmp_path: Path) -> None:
    right = ranking(tracklet("q", "1", "a"), tracklet("g", "1", "b"))
    wrong = ranking(tracklet("q", "1", "a"), tracklet("g", "2", "b"))
    page = page_of(tmp_path, [right, right, wrong, wrong], limit=3)
    assert len(page.all("article")) == 3
    assert "Showing the first 3 of 4 queries." in page.text
    assert "50.0% first match right 2 of 4" in page.text
    assert "Showing" not in page_of(tmp_path, [right, wrong], limit=2).text


def test_unreadable_images_are_counted_and_named(tmp_path: Path) -> None:
    page = page_of(tmp_path, [], unreadable=["a/<1>.jpg", "b & c.jpg"])
    assert len(page.all("details")) == 1
    assert "2 images could not be read" in page.text
    assert "a/<1>.jpg\nb & c.jpg" in page.text
    assert "1 image could not" in page_of(tmp_path, [], unreadable=["x"]).text
    assert not page_of(tmp_path, []).all("details")


def test_a_query_without_matches_says_so(tmp_path: Path) -> None:
    page = page_of(tmp_path, [ranking(tracklet("q", "1", "a"))])
    assert marks(page) == [[]]
    assert "no matches" in page.text


def test_a_picture_that_cannot_be_read_has_a_placeholder(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture at all")
    missing = tracklet("missing", None, None, tmp_path / "missing.jpg")
    page = page_of(tmp_path, [ranking(missing, tracklet("broken", None, None, broken))])
    assert not page.all("image")
    assert [use["href"] for use in page.all("use")] == ["#no-picture"] * 2


def test_a_picture_is_embedded_once_with_its_shape(tmp_path: Path) -> None:
    wide, small = tracklet("wide", None, None, picture(size=(300, 600))), tracklet("small")
    page = page_of(tmp_path, [ranking(wide, small), ranking(small, wide)])
    assert [(image["width"], image["height"]) for image in page.all("image")] == [("128", "64"), ("40", "30")]
    assert [decoded(image["href"]).shape for image in page.all("image")] == [(64, 128, 3), (30, 40, 3)]
    names = ["#picture-0", "#picture-1"]
    assert [use["href"] for use in page.all("use")] == [*names, *reversed(names)]


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_pictures_of_any_shape_are_drawn(tmp_path: Path, size: tuple[int, int]) -> None:
    page = page_of(tmp_path, [ranking(tracklet("q", None, None, picture(size=size)))])
    assert decoded(page.all("image")[0]["href"]).size > 0


def test_the_middle_frame_stands_for_a_tracklet_in_its_own_colors(tmp_path: Path) -> None:
    red = tmp_path / "red.png"
    cv2.imwrite(str(red), np.full((20, 20, 3), (0, 0, 255), np.uint8))
    path_frame = tracklet("file", None, None, picture(), red, picture())
    pixels = [np.full((20, 20, 3), color, np.uint8) for color in ((0, 0, 255), (255, 0, 0))]
    array_frame = tracklet("array", None, None, *pixels)
    page = page_of(tmp_path, [ranking(array_frame, path_frame)])
    for image in page.all("image"):
        blue, green, red_channel = decoded(image["href"]).reshape(-1, 3).mean(axis=0)
        assert red_channel > 240
        assert max(blue, green) < 15
    assert "3 frames" in page.text
    assert "2 frames" in page.text


hostile = st.text() | st.sampled_from(['"><script>alert(1)</script>', "</li></ol>", "'&amp;", "]]>", "<!--"])


@given(name=hostile, vehicle=hostile.filter(bool), camera=hostile.filter(bool), title=hostile, fact=hostile)
def test_whatever_the_names_the_page_keeps_its_structure(
    tmp_path_factory: pytest.TempPathFactory, name: str, vehicle: str, camera: str, title: str, fact: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "report.html"

    def structure(*words: str) -> list[str]:
        name, vehicle, camera, title, fact = words
        found = ranking(tracklet(name, vehicle, camera), tracklet(name, vehicle, camera + "2"))
        html = write(path, [found], title=title, facts={fact: fact}, unreadable=[name])
        return [tag for tag, _ in Page(html).tags]

    assert structure(name, vehicle, camera, title, fact) == structure("n", "v", "c", "t", "f")


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    name = '"><img src=x onerror=alert(1)> & "quotes"'
    page = page_of(tmp_path, [ranking(tracklet("q"), tracklet(name))], title=name, facts={name: name})
    assert page.text.count(name) == 5  # <title>, <h1>, a fact's term and value, the match
    assert any(p.get("title") == name for p in page.all("p"))


def test_names_that_are_no_utf8_do_not_fail_the_page(tmp_path: Path) -> None:
    page = page_of(tmp_path, [ranking(tracklet("caf\udce9"))])
    assert "caf\\udce9" in page.text


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    assert_asks_nothing_of_the_network(write(tmp_path / "report.html", known_rankings()))


def test_the_page_can_be_heard(tmp_path: Path) -> None:
    assert_can_be_heard(write(tmp_path / "report.html", known_rankings()))


# In a real browser

ROWS = {
    "rows": 'all("article").length',
    "visible": 'all("article").filter(row => row.checkVisibility()).length',
    "scrolling": 'all("article").filter(row => row.scrollWidth > row.clientWidth).length',
}


def only_missed(html: str) -> str:
    return html.replace('id="show-missed"', 'id="show-missed" checked')


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scrolling"), [(1280, 0), (500, 12)])
def test_a_browser_renders_all_rows_and_pictures(browser: Browser, tmp_path: Path, width: int, scrolling: int) -> None:
    long = "a_name_without_any_space_" * 20
    html = write(tmp_path / "report.html", known_rankings(), facts={"Model": long}, title=long, unreadable=[long])
    pictures = html.count("<image")
    assert pictures > 12
    assert browser.probe(html, tmp_path / "probe.html", width, **ROWS) == {
        "rows": 12,
        "visible": 12,
        "images": pictures,
        "decoded": pictures,
        "dangling": 0,
        "overflow": 0,
        "scrolling": scrolling,
        "errors": [],
    }


@pytest.mark.browser
def test_a_browser_hides_what_the_filter_leaves_out(browser: Browser, tmp_path: Path) -> None:
    html = write(tmp_path / "report.html", known_rankings())
    missed = html.count('class="query missed"')
    assert 0 < missed < 12
    assert browser.probe(only_missed(html), tmp_path / "probe.html", 1280, **ROWS)["visible"] == missed


@pytest.mark.browser
def test_a_picture_is_seen_though_the_row_that_holds_its_bytes_is_hidden(browser: Browser, tmp_path: Path) -> None:
    shared = tracklet("shared", "1", "b", picture(MAGENTA, (64, 64)))
    html = write(
        tmp_path / "all.html",
        [ranking(tracklet("q1", "1", "a"), shared), ranking(tracklet("q2", "2", "a"), shared)],
    )
    filtered = tmp_path / "filtered.html"
    filtered.write_text(only_missed(html), encoding="utf-8")

    def magenta_pixels(page: Path) -> int:
        screenshot = tmp_path / "screenshot.png"
        browser.run(page, f"--screenshot={screenshot}", "--window-size=1280,900")
        image = np.asarray(cv2.imread(str(screenshot)), np.int16)
        return int((np.abs(image - MAGENTA[::-1]).max(axis=2) < 12).sum())

    one = magenta_pixels(filtered)
    assert one > 90 * 90  # one card of 96 x 96 less its frame and marks
    assert magenta_pixels(tmp_path / "all.html") == pytest.approx(2 * one, rel=0.1)
