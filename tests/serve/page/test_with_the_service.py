"""The page in front of the real service: search, compare pictures, add and remove."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect
from served import serving

from reid.runtime.sessions.session import Session

pytestmark = pytest.mark.browser

Window = Callable[..., BrowserContext]


def test_the_page_and_the_service_understand_each_other(
    window: Window,
    session: Session,
    store: Path,
    material: Any,  # noqa: ANN401
) -> None:
    query, token = material.queries[0], "0123456789abcdef"
    with serving(session, store, token=token) as client:
        page = window().new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
        page.goto(client.url)
        dialog, matches, entries = (
            page.get_by_role("dialog"),
            page.locator("#match-list .card"),
            page.locator("#entry-list .card"),
        )
        dialog.locator("input").fill(token)
        page.keyboard.press("Enter")
        expect(entries).to_have_count(client.get("/v1/about").json["entries"])

        page.set_input_files("#chooser", [str(query)])
        expect(matches).to_have_count(20)
        answer = client.post("/v1/queries", [(query.name, query.read_bytes())], k=20).json
        assert matches.locator(".name").all_inner_texts() == [match["entry"]["id"] for match in answer["matches"]]

        page.keyboard.press("a")
        dialog.get_by_label("Id").fill("new-one")
        dialog.get_by_role("button", name="Add").click()
        expect(dialog).to_be_hidden()
        assert client.get("/v1/entries", text="new-one").json["total"] == 1
        assert faults == []
        page.close()
