"""A real browser for the page, on which every test also proves that it makes no error and asks nothing of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import headless_browser
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from stand_in_service import Made, Picture, Service, color_of, serving

Visit = Callable[..., Page]
COLORS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 210), "yellow": (230, 210, 40)}

expect.set_options(timeout=30_000)  # only ever waited for by a test that fails


def painted(color: tuple[int, ...]) -> Picture:
    return np.full((24, 32, 3), color, np.uint8)


@pytest.fixture(scope="module")
def chromium(browser: headless_browser.Browser) -> Iterator[Browser]:
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser.program, args=options)
        yield opened
        opened.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    """Open the page of a service in a window of its own; options are Playwright's."""
    faults: list[str] = []

    with ExitStack() as stack:

        def open_page(service: Service, address: str = "", width: int = 1280, **options: object) -> Page:
            origin = stack.enter_context(serving(service))
            context = chromium.new_context(viewport={"width": width, "height": 800}, **options)  # type: ignore[arg-type]
            stack.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
            page.on(
                "request", lambda asked: None if asked.url.startswith((origin, "blob:")) else faults.append(asked.url)
            )
            page.goto(origin + address)
            return page

        yield open_page
    assert faults == []


@pytest.fixture
def service() -> Service:
    """Four colors, each seen by three cameras, c1 to c3, at 10:00, 11:00 and 12:00; and one entry of nowhere."""
    entries = [
        made(f"{name}-c{camera}", tuple(part + 9 * camera for part in color), f"c{camera}", 3600.0 * (9 + camera))
        for name, color in COLORS.items()
        for camera in (1, 2, 3)
    ]
    stranger = painted((120, 240, 240))
    return Service([*entries, Made("stranger", None, None, color_of([stranger]))])


def made(name: str, color: tuple[int, ...], camera: str, time: float) -> Made:
    picture = painted(color)
    return Made(name, camera, time, color_of([picture]), (picture,))


@pytest.fixture
def crops(tmp_path: Path) -> dict[str, Path]:
    """Pictures of each color that are not in the gallery, and a file that is none."""
    paths = {name: tmp_path / f"{name}.png" for name in COLORS}
    for name, path in paths.items():
        cv2.imwrite(str(path), painted(COLORS[name])[..., ::-1])
    paths["text"] = tmp_path / "notes.txt"
    paths["text"].write_text("no picture")
    return paths
