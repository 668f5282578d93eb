"""The page of reid-serve in a real Chromium, in front of a service that ranks by color."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, Route, expect
from stand_in_service import Made, Service

pytestmark = pytest.mark.browser

Visit = Callable[..., Page]
Crops = dict[str, Path]


def choose(page: Page, *paths: Path) -> None:
    page.set_input_files("#chooser", [str(path) for path in paths])


def drop(page: Page, *paths: Path) -> None:
    """Drag files over the page and let go, as a person does."""
    events = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "dragOver", "drop"):
        events.send("Input.dispatchDragEvent", {"type": kind, "x": 700, "y": 600, "data": data})
        if kind != "drop":
            expect(page.get_by_text("Drop to search")).to_be_visible()


def paste(page: Page, path: Path) -> None:
    content = base64.b64encode(path.read_bytes()).decode()
    page.evaluate(
        """async (content) => {
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          const picture = new Blob([bytes], { type: "image/png" });
          await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
        }""",
        content,
    )
    page.keyboard.press("Control+v")


def found(page: Page) -> Locator:
    return page.locator("#match-list .card")


def entries(page: Page) -> Locator:
    return page.locator("#entry-list .card")


def ids(cards: Locator) -> list[str]:
    return cards.locator(".name").all_inner_texts()


def camera(page: Page, name: str) -> Locator:
    return page.locator(f"#cameras input[value={name}]")


def field(page: Page, name: str) -> Locator:
    return page.locator(f"#filter-form [name={name}]")


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog")


def status(page: Page) -> Locator:
    return page.locator("#status")


def last(service: Service, path: str) -> dict[str, list[str]]:
    """Return the parameters of the last question of this path."""
    asked = [urlsplit(line.split(" ", 1)[1]) for line in service.asked]
    return parse_qs([url.query for url in asked if url.path == path][-1])


def ranked(service: Service, name: str) -> list[tuple[str, float]]:
    """Rank by cosines, one product at a time."""

    def cosine(a: Made, b: Made) -> float:
        return math.fsum(float(x) * float(y) for x, y in zip(a.embedding, b.embedding, strict=True))

    query = next(entry for entry in service.entries if entry.id == name)
    scores = [(entry.id, cosine(query, entry)) for entry in service.entries if entry is not query]
    return sorted(scores, key=lambda pair: -pair[1])


# What comes in


def test_a_dropped_picture_is_searched_at_once(visit: Visit, service: Service, crops: Crops) -> None:
    page = visit(service)
    drop(page, crops["red"])
    expect(found(page).first).to_contain_text("red-c1")
    expect(page.locator("#query-name")).to_have_text("red.png")
    expect(page.get_by_text("Drop to search")).to_be_hidden()


def test_a_pasted_picture_is_searched(visit: Visit, service: Service, crops: Crops) -> None:
    page = visit(service, permissions=["clipboard-read", "clipboard-write"])
    paste(page, crops["blue"])
    expect(found(page).first).to_contain_text("blue-c1")


def test_pictures_are_chosen_together_and_one_by_one(visit: Visit, service: Service, crops: Crops) -> None:
    page = visit(service)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose pictures").click()
    assert chooser.value.is_multiple()
    chooser.value.set_files([str(crops["green"]), str(crops["yellow"])])
    expect(page.locator("#query-name")).to_have_text("2 pictures of one vehicle")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add a picture of the same vehicle").click()
    chooser.value.set_files([str(crops["red"])])
    expect(page.locator("#query-name")).to_have_text("3 pictures of one vehicle")
    for name in ("yellow.png", "red.png"):
        page.get_by_role("button", name=f"Take {name} out of the query").click()
    expect(page.locator("#query-name")).to_have_text("green.png")
    expect(found(page).first).to_contain_text("green-c1")
    assert sum(line.startswith("POST /v1/queries") for line in service.asked) == 4


def test_a_phone_also_takes_a_picture_with_its_camera(visit: Visit, service: Service, crops: Crops) -> None:
    page = visit(service, width=390, has_touch=True, is_mobile=True)
    assert page.locator("#camera").get_attribute("capture") == "environment"
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take a picture").tap()
    chooser.value.set_files(str(crops["red"]))
    expect(found(page).first).to_contain_text("red-c1")
    expect(visit(service).get_by_role("button", name="Take a picture")).to_be_hidden()


def test_what_is_left_out_is_named_with_its_reason(visit: Visit, service: Service, crops: Crops) -> None:
    page = visit(service)
    choose(page, crops["red"], crops["text"])
    expect(page.locator("#left-out")).to_have_text("1 picture was left outnotes.txt: not a readable image")
    expect(found(page).first).to_contain_text("red-c1")
    choose(page, crops["red"])
    expect(page.locator("#query-name")).to_have_text("red.png")
    expect(page.locator("#left-out")).to_be_hidden()


def test_what_the_service_cannot_take_is_not_sent(visit: Visit, service: Service, crops: Crops, tmp_path: Path) -> None:
    page = visit(service)
    expect(entries(page)).to_have_count(13)
    choose(page, *crops.values())
    expect(page.locator("#query-error")).to_have_text("5 pictures are too many; take up to 4 of one vehicle")
    (tmp_path / "large.jpg").write_bytes(bytes(1_000_001))
    choose(page, tmp_path / "large.jpg")
    expect(page.locator("#query-error")).to_have_text("large.jpg has 1,000,001 bytes; take one of up to 1,000,000")
    (tmp_path / "folder").mkdir()
    drop(page, tmp_path / "folder")
    expect(page.locator("#query-error")).to_have_text("folder is a folder; drop the pictures in it")
    assert not any(line.startswith("POST") for line in service.asked)


# What comes out


def test_matches_are_ranked_with_score_camera_time_and_verdict(visit: Visit, service: Service) -> None:
    page = visit(service, "?entry=red-c2")
    expect(found(page)).to_have_count(12)
    expected = ranked(service, "red-c2")
    assert ids(found(page)) == [name for name, _ in expected]
    assert found(page).locator(".rank").all_inner_texts() == [
        f"{rank}\n{score:.3f}" for rank, (_, score) in enumerate(expected, start=1)
    ]
    same = [score >= 0.9 for _, score in expected]
    assert found(page).locator(".verdict").all_inner_texts() == [
        "same vehicle" if decided else "not the same" for decided in same
    ]
    expect(status(page)).to_have_text(f"12 matches, {sum(same)} of the same vehicle, in 12.3 ms")
    assert 0 < sum(same) < 12
    before = page.locator("#match-list li").all_inner_texts()[sum(same)]
    assert before == "Below 0.900, the threshold for 1 false match in 1,000 pairs of different vehicles"
    expect(found(page).filter(has_text="red-c1").locator(".origin")).to_have_text("c1 · 10:00:00")
    expect(found(page).filter(has_text="stranger").locator(".origin")).to_be_empty()
    expect(found(page).filter(has_text="stranger").locator(".frame")).to_have_text("no picture")


def test_without_an_operating_point_nothing_is_decided(visit: Visit, service: Service) -> None:
    service.threshold = None
    page = visit(service, "?entry=red-c2")
    expect(status(page)).to_have_text("12 matches, in 12.3 ms")
    expect(page.locator("#facts")).to_contain_text("not decided: no operating point")
    expect(page.locator("#match-list .verdict, .threshold")).to_have_count(0)


def test_no_match_above_the_threshold_is_said(visit: Visit, service: Service) -> None:
    service.threshold = 0.999999
    page = visit(service, "?entry=red-c2")
    expect(page.locator("#match-list li").first).to_contain_text("No match is the same vehicle. Below 1.000")


def test_names_from_outside_are_text(visit: Visit, service: Service, crops: Crops) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    service.entries[0] = Made(hostile, hostile, 0.0, service.entries[0].embedding, service.entries[0].pictures)
    service.failures["/v1/queries"] = (400, hostile)
    page = visit(service)
    expect(entries(page).first.locator(".name")).to_have_text(hostile)
    choose(page, crops["red"])
    expect(page.locator("#query-error")).to_have_text(hostile)
    choose(page, crops["red"])
    expect(found(page).first.locator(".name")).to_have_text(hostile)
    found(page).first.click()
    expect(page.locator("#compare-match-name")).to_have_text(f"{hostile} · {hostile} · 0:00:00")
    assert page.locator("[onerror]").count() == 0


def test_times_are_hours_or_dates_and_are_read_as_they_are_written(visit: Visit, service: Service) -> None:
    page = visit(service)
    times = {
        0: "0:00:00",
        59.994: "0:00:59.99",
        59.996: "0:01:00",
        3600.5: "1:00:00.5",
        -61: "-0:01:01",
        86400 * 40 + 61: "960:01:01",
        1_767_225_599: "2025-12-31 23:59:59",
    }
    module = "async (values) => { const words = await import('/page/words.js'); return values.map(words.NAME); }"
    assert page.evaluate(module.replace("NAME", "clock"), list(times)) == list(times.values())
    read = page.evaluate(module.replace("NAME", "seconds"), list(times.values()))
    assert read == pytest.approx(list(times), abs=0.006)
    others = {"": None, " 90 ": 90, "1:30": 5400, "-1.5": -1.5, "2025-12-31T23:59": 1_767_225_540}
    assert page.evaluate(module.replace("NAME", "seconds"), list(others)) == list(others.values())


# Filters


def test_filters_by_camera_time_and_number(visit: Visit, service: Service) -> None:
    page = visit(service, "?entry=red-c2")
    expect(found(page)).to_have_count(12)
    camera(page, "c1").check()
    expect(found(page)).to_have_count(4)
    camera(page, "c3").check()
    expect(found(page)).to_have_count(8)
    assert last(service, "/v1/matches")["camera"] == ["c1", "c3"]
    field(page, "after").fill("11:30")
    field(page, "after").press("Enter")
    expect(found(page)).to_have_count(4)
    assert {name[-2:] for name in ids(found(page))} == {"c3"}
    field(page, "k").fill("2")
    field(page, "k").blur()
    expect(found(page)).to_have_count(2)
    assert parse_qs(urlsplit(page.url).query) == {
        "entry": ["red-c2"],
        "camera": ["c1", "c3"],
        "after": ["41400"],
        "k": ["2"],
    }
    page.reload()
    expect(found(page)).to_have_count(2)
    expect(field(page, "after")).to_have_value("11:30:00")
    expect(page.locator("#filter-count")).to_have_text("2 in use")
    page.get_by_role("button", name="Clear the filters").click()
    field(page, "own").check()
    expect(found(page)).to_have_count(2)
    field(page, "k").fill("100")
    field(page, "k").press("Enter")
    expect(found(page)).to_have_count(9)  # without the three of c2, with the one of nowhere
    assert last(service, "/v1/matches") == {"entry": ["red-c2"], "k": ["100"], "not_camera": ["c2"]}


def test_filters_that_nothing_passes_say_so(visit: Visit, service: Service) -> None:
    page = visit(service, "?entry=red-c2&after=90000")
    expect(status(page)).to_have_text("No entry passes the filters")
    page.get_by_role("button", name="Clear the filters").click()
    expect(found(page)).to_have_count(12)


def test_a_filter_that_cannot_be_read_is_an_error_beside_it(visit: Visit, service: Service) -> None:
    page = visit(service, "?entry=red-c2")
    expect(found(page)).to_have_count(12)
    error = page.locator("#filter-error")
    for name, text, line in [
        ("after", "noon", "'noon' is not a time; write h:mm:ss, or seconds"),
        ("before", "0:30:00", ""),
        ("after", "1:00", "1:00 is after 0:30:00; exchange the two"),
        ("k", "1000", "'1000' is not a number of matches; write one from 1 to 100"),
    ]:
        field(page, name).fill(text)
        field(page, name).press("Enter")
        field(page, name).blur()
        if line:
            expect(error).to_have_text(line)
        else:
            field(page, "after").fill("")
            field(page, "after").blur()
            expect(error).to_be_hidden()


def test_what_the_service_refuses_in_a_filter_stands_beside_it(visit: Visit, service: Service) -> None:
    page = visit(service, "?entry=red-c2")
    expect(found(page)).to_have_count(12)
    service.failures["/v1/matches"] = (422, "no entry is of camera 'c1'")
    camera(page, "c1").check()
    expect(page.locator("#filter-error")).to_have_text("no entry is of camera 'c1'")
    expect(page.locator("#query-error")).to_be_hidden()
    camera(page, "c2").check()
    expect(page.locator("#filter-error")).to_be_hidden()


# From match to match


def test_a_match_is_compared_with_the_query(visit: Visit, service: Service, crops: Crops) -> None:
    page = visit(service, "?entry=red-c2")
    found(page).nth(1).click()
    names = [name for name, _ in ranked(service, "red-c2")]
    match = page.locator("#compare-match-name")
    expect(dialog(page)).to_have_accessible_name("Match 2 of 12")
    expect(match).to_contain_text(names[1])
    expect(page.locator("#compare-query-name")).to_have_text("red-c2 · c2 · 11:00:00")
    expect(page.locator("#compare-match img")).to_have_attribute("alt", f"match, {names[1]}")
    order = {"c1": "before", "c3": "after"}[names[1][-2:]]
    expect(page.locator("#compare-facts")).to_contain_text(f"Seen1:00:00 {order} the query")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(match).to_contain_text(names[4])
    expect(page.locator("#compare-verdict")).to_contain_text("not the same")
    page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="Previous").click()
    expect(match).to_contain_text(names[2])
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    expect(match).to_contain_text(names[0])
    expect(page.get_by_role("button", name="Previous")).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Escape")
    expect(dialog(page)).to_be_hidden()
    expect(found(page).first).to_be_focused()


def test_a_tracklet_is_compared_picture_by_picture(visit: Visit, service: Service, crops: Crops) -> None:
    page = visit(service)
    choose(page, crops["green"], crops["red"])
    found(page).first.click()
    expect(page.locator("#compare-query-name")).to_have_text("green.png")
    page.get_by_role("button", name="Show picture 2 of the query").click()
    expect(page.locator("#compare-query-name")).to_have_text("red.png")
    expect(page.get_by_role("button", name="Show picture 2 of the query")).to_be_focused()


def test_a_search_goes_on_from_a_match_and_back(visit: Visit, service: Service, crops: Crops) -> None:
    page = visit(service)
    choose(page, crops["red"])
    found(page).first.hover()
    page.get_by_role("button", name="Search with red-c1").click()
    expect(page.locator("#query-name")).to_have_text("red-c1")
    expect(page.get_by_role("heading", name="Matches")).to_be_focused()
    assert urlsplit(page.url).query == "entry=red-c1"
    assert "red-c1" not in ids(found(page))
    found(page).filter(has_text="blue-c3").click()
    dialog(page).get_by_role("button", name="Search with this one").click()
    expect(page.locator("#query-name")).to_have_text("blue-c3")
    expect(page).to_have_title("blue-c3 - reid")
    page.go_back()
    expect(page.locator("#query-name")).to_have_text("red-c1")
    page.go_back()  # to the picture, which is asked again
    expect(page.locator("#query-name")).to_have_text("red.png")
    expect(found(page).first).to_contain_text("red-c1")
    page.go_back()
    expect(page.get_by_role("heading", name="Find a vehicle")).to_be_visible()
    for _ in range(3):
        page.go_forward()
    expect(page.locator("#query-name")).to_have_text("blue-c3")
    page.get_by_role("link", name="reid").click()
    expect(entries(page)).to_have_count(13)
    assert urlsplit(page.url).query == ""


# The gallery


def test_the_gallery_is_looked_through_by_text_and_camera(visit: Visit, service: Service) -> None:
    page = visit(service)
    expect(page.locator("#gallery-status")).to_have_text("13 entries")
    page.get_by_label("Part of an id").fill("e")
    expect(page.locator("#gallery-status")).to_have_text("13 entries")
    page.get_by_label("Part of an id").fill("red")
    expect(page.locator("#gallery-status")).to_have_text("3 entries")
    page.get_by_role("combobox", name="Camera").select_option("c2")
    expect(page.locator("#gallery-status")).to_have_text("1 entry")
    assert ids(entries(page)) == ["red-c2"]
    page.get_by_label("Part of an id").fill("purple")
    expect(page.locator("#gallery-status")).to_have_text("No entry is like that")
    page.get_by_label("Part of an id").fill("red")
    expect(entries(page)).to_have_count(1)
    page.get_by_label("Part of an id").press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("#query-name")).to_have_text("red-c2")


def test_a_long_gallery_comes_in_parts(visit: Visit, service: Service) -> None:
    one = service.entries[0]
    service.entries = [Made(f"n{number:03}", None, None, one.embedding) for number in range(100)]
    page = visit(service)
    more = page.get_by_role("button", name="Show more")
    for shown, words in [(48, "48 of 100 entries"), (96, "96 of 100 entries"), (100, "100 entries")]:
        expect(page.locator("#gallery-status")).to_have_text(words)
        expect(entries(page)).to_have_count(shown)
        if shown < 100:
            more.click()
            expect(entries(page).nth(shown)).to_be_focused()
    expect(more).to_be_hidden()
    assert ids(entries(page)) == [f"n{number:03}" for number in range(100)]


def test_an_empty_gallery_says_so(visit: Visit) -> None:
    page = visit(Service())
    expect(page.locator("#gallery-status")).to_have_text("The gallery is empty")


def test_the_query_becomes_an_entry(visit: Visit, service: Service, crops: Crops) -> None:
    page = visit(service)
    choose(page, crops["red"], crops["yellow"])
    page.get_by_role("button", name="Add to the gallery").click()
    expect(dialog(page).get_by_label("Id")).to_have_value("red")
    dialog(page).get_by_label("Id").fill("red-c1")
    dialog(page).get_by_label("Camera").fill("c9")
    dialog(page).get_by_label("Time").fill("later")
    dialog(page).get_by_role("button", name="Add").click()
    expect(page.locator("#add-error")).to_have_text("'later' is not a time; write h:mm:ss, or seconds")
    dialog(page).get_by_label("Time").fill("13:00")
    dialog(page).get_by_label("Time").press("Enter")
    expect(page.locator("#add-error")).to_have_text("'red-c1' is in the gallery already; choose another id")
    dialog(page).get_by_label("Id").fill("orange")
    dialog(page).get_by_label("Id").press("Enter")
    expect(page.locator("#notice")).to_have_text("orange was added to the gallery")
    added = service.entries[-1]
    assert (added.id, added.camera, added.time, len(added.pictures)) == ("orange", "c9", 13 * 3600, 2)
    expect(found(page).first).to_contain_text("orange")
    expect(found(page).first).to_contain_text("2 frames")
    expect(page.locator("#facts")).to_contain_text("14 entries, 4 cameras")
    expect(camera(page, "c9")).to_be_attached()


def test_an_entry_is_removed_only_once_that_is_confirmed(visit: Visit, service: Service) -> None:
    page = visit(service)
    expect(entries(page)).to_have_count(13)
    entries(page).nth(1).focus()
    page.keyboard.press("Delete")
    expect(dialog(page)).to_contain_text("red-c2")
    expect(dialog(page).get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog(page)).to_be_hidden()
    assert len(service.entries) == 13
    page.keyboard.press("Delete")
    dialog(page).get_by_role("button", name="Remove").click()
    expect(page.locator("#notice")).to_have_text("red-c2 was removed from the gallery")
    expect(entries(page)).to_have_count(12)
    expect(entries(page).nth(1)).to_be_focused()
    assert service.find("red-c2") is None
    entries(page).first.click()
    found(page).first.click()
    page.get_by_role("button", name="Remove from the gallery").last.click()
    service.failures["/v1/entries"] = (409, "another process writes the gallery")
    dialog(page).get_by_role("button", name="Remove").click()
    expect(page.locator("#remove-error")).to_have_text("another process writes the gallery")
    dialog(page).get_by_role("button", name="Remove").click()
    expect(status(page)).to_contain_text("10 matches")
    page.get_by_role("button", name="Remove from the gallery").click()
    dialog(page).get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", name="Find a vehicle")).to_be_visible()
    expect(entries(page)).to_have_count(10)


def test_a_gallery_that_is_only_read_offers_no_change(visit: Visit, service: Service, crops: Crops) -> None:
    service.writable = False
    page = visit(service)
    choose(page, crops["red"])
    expect(found(page)).to_have_count(13)
    expect(page.get_by_role("button", name="Add to the gallery")).to_be_hidden()
    found(page).first.click()
    expect(page.get_by_role("button", name="Remove from the gallery")).to_have_count(0)
    page.keyboard.press("Escape")
    for key in ("Delete", "a"):
        page.keyboard.press(key)
        expect(dialog(page)).to_have_count(0)


# Keys


def test_everything_is_reached_by_keys(visit: Visit, service: Service) -> None:
    page = visit(service)
    page.keyboard.press("/")
    expect(page.get_by_label("Part of an id")).to_be_focused()
    page.keyboard.type("s")  # a letter in a field is a letter
    expect(page.get_by_label("Part of an id")).to_have_value("s")
    page.get_by_label("Part of an id").fill("")
    expect(entries(page)).to_have_count(13)
    page.get_by_label("Part of an id").blur()
    page.keyboard.press("ArrowRight")
    expect(entries(page).first).to_be_focused()
    page.keyboard.press("s")
    expect(page.locator("#query-name")).to_have_text("red-c1")
    expect(found(page)).to_have_count(12)
    page.keyboard.press("ArrowRight")
    expect(found(page).first).to_be_focused()
    page.keyboard.press("End")
    expect(found(page).last).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")  # over the line of the threshold, to the nearest column
    columns = found(page).evaluate_all("cards => cards.map(card => card.getBoundingClientRect().left)")
    focused = page.evaluate("document.activeElement.getBoundingClientRect().left")
    assert focused == columns[1]
    page.keyboard.press("ArrowUp")
    expect(found(page).nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog(page)).to_have_accessible_name("Match 2 of 12")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    expect(camera(page, "c1")).to_be_focused()
    page.keyboard.press("Space")
    expect(found(page)).to_have_count(3)
    expect(camera(page, "c1")).to_be_focused()
    with page.expect_file_chooser():
        camera(page, "c1").blur()
        page.keyboard.press("o")


def test_help_lists_the_keys_and_turns_letters_off(visit: Visit, service: Service) -> None:
    page = visit(service)
    expect(entries(page)).to_have_count(13)
    page.keyboard.press("?")
    expect(dialog(page)).to_have_accessible_name("Keys")
    listed = dialog(page).locator("dt").all_inner_texts()
    document = (Path(__file__).parents[3] / "docs" / "serve-page.md").read_text(encoding="utf-8")
    for keys in listed:
        assert f"| {' '.join(f'`{key}`' for key in keys.split())} |" in document
    dialog(page).get_by_label("Letters and signs work as keys").uncheck()
    page.keyboard.press("Escape")
    page.reload()
    expect(entries(page)).to_have_count(13)
    page.keyboard.press("/")
    page.keyboard.press("?")
    expect(dialog(page)).to_have_count(0)
    expect(page.get_by_label("Part of an id")).not_to_be_focused()
    page.get_by_role("button", name="Keys").click()
    expect(dialog(page)).to_be_visible()


def test_what_has_the_focus_is_seen(visit: Visit, service: Service) -> None:
    page = visit(service, "?entry=red-c2")
    expect(found(page)).to_have_count(12)
    seen = set()
    while True:
        page.keyboard.press("Tab")
        outline, name = page.evaluate(
            """() => {
              const element = document.activeElement;
              const drawn = element.matches(".chips input") ? element.nextSibling : element;
              return [getComputedStyle(drawn).outlineStyle, element.className || element.id || element.name];
            }"""
        )
        if page.evaluate("document.activeElement === document.body"):
            break
        assert outline == "solid", name
        seen.add(name)
    assert {"home", "quiet", "main", "camera", "after", "k", "card", "again"} <= seen


# Errors and the token


def test_the_token_is_asked_for_and_kept_for_the_tab(visit: Visit, service: Service, crops: Crops) -> None:
    service.token = "open sesame".replace(" ", "-")
    page = visit(service)
    expect(dialog(page)).to_have_accessible_name("This service asks for a token")
    dialog(page).get_by_label("Token").fill("guess")
    page.keyboard.press("Enter")
    expect(page.locator("#token-error")).to_have_text("The service does not take this token; ask whoever runs it")
    dialog(page).get_by_label("Token").fill(service.token)
    page.keyboard.press("Enter")
    expect(entries(page)).to_have_count(13)
    expect(entries(page).first.locator(".shown")).to_be_visible()
    choose(page, crops["red"])
    expect(found(page)).to_have_count(13)
    assert page.evaluate("[localStorage.length, sessionStorage['reid-token']]") == [0, service.token]
    page.reload()
    expect(entries(page)).to_have_count(13)
    expect(dialog(page)).to_have_count(0)


def test_no_token_is_an_error_with_a_way_out(visit: Visit, service: Service) -> None:
    service.token = "secret"
    page = visit(service)
    expect(dialog(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog(page)).to_be_hidden()
    expect(page.locator("#gallery-error")).to_have_text("The service asks for a token; reload this page to give one")
    assert page.evaluate("sessionStorage.length") == 0


def test_an_error_is_one_line_at_its_cause(visit: Visit, service: Service, crops: Crops) -> None:
    page = visit(service, "?entry=purple")
    expect(page.get_by_role("alert")).to_have_text("no entry 'purple'; /v1/entries lists them")
    choose(page, crops["text"])
    expect(page.get_by_role("alert")).to_have_text("notes.txt: not a readable image; send a JPEG, PNG or WebP")
    service.failures["/v1/queries"] = (503, "all places are taken; try again in a moment")
    choose(page, crops["red"])
    expect(page.get_by_role("alert")).to_have_text("all places are taken; try again in a moment")
    page.context.set_offline(True)
    choose(page, crops["red"])
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer")
    page.context.set_offline(False)
    choose(page, crops["red"])
    expect(found(page)).to_have_count(13)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_answer_that_comes_late_is_not_shown(visit: Visit, service: Service) -> None:
    page = visit(service)
    expect(entries(page)).to_have_count(13)
    late: list[Route] = []
    page.route("**/v1/matches?*red-c1*", lambda route: late.append(route))
    with page.expect_request("**/v1/matches?*red-c1*"):
        entries(page).first.click()
    expect(status(page)).to_have_text("Searching")
    page.go_back()
    page.locator("#entry-list .card", has_text="blue-c1").click()
    expect(found(page).first).to_contain_text("blue")
    late[0].fulfill(body=json.dumps({"left_out": [], "milliseconds": 1, "matches": []}))
    expect(status(page)).to_contain_text("12 matches")


# How it looks


def walk(page: Page, crops: Crops, look: Callable[[str], None]) -> None:
    """Take the page through its states."""
    expect(entries(page)).to_have_count(13)
    look("home")
    choose(page, crops["red"], crops["text"])
    expect(found(page)).to_have_count(13)
    expect(page.locator("#left-out")).to_be_visible()
    page.locator("#filters").evaluate("filters => filters.open = true")
    camera(page, "c1").check()
    field(page, "after").fill("noon")
    field(page, "after").blur()
    expect(page.locator("#filter-error")).to_be_visible()
    expect(found(page)).to_have_count(4)
    look("matches")
    found(page).first.click()
    look("comparison")
    page.keyboard.press("Escape")
    for key, name in [("?", "keys"), ("a", "add"), ("Delete", "remove")]:
        page.keyboard.press(key)
        expect(dialog(page)).to_be_visible()
        look(name)
        page.keyboard.press("Escape")
    page.evaluate("sessionStorage.clear()")


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_it_fits_and_can_be_used_by_everybody(
    visit: Visit, service: Service, crops: Crops, width: int, scheme: str
) -> None:
    phone = {"has_touch": True, "is_mobile": True} if width == 390 else {}
    page = visit(service, width=width, color_scheme=scheme, **phone)
    axe = Axe()

    def look(state: str) -> None:
        results = axe.run(page)
        assert results.violations_count == 0, f"{state}: {results.generate_report()}"
        widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth, document.body.scrollWidth]")
        assert max(widths) == width, state

    walk(page, crops, look)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(250, 250, 249)", "dark": "rgb(20, 22, 25)"}[scheme]


def test_the_prompt_for_the_token_can_be_used_by_everybody(visit: Visit, service: Service) -> None:
    service.token = "secret"
    page = visit(service)
    expect(dialog(page)).to_be_visible()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_nothing_moves_for_those_who_asked_for_that(visit: Visit, service: Service) -> None:
    for motion, moves in [("no-preference", True), ("reduce", False)]:
        page = visit(service, reduced_motion=motion)
        expect(entries(page)).to_have_count(13)
        durations = page.evaluate(
            "[...document.querySelectorAll('*')].map(element => getComputedStyle(element).transitionDuration)"
        )
        assert any(float(duration.rstrip("s")) > 0 for duration in durations) == moves
