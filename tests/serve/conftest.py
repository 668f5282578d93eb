"""A real browser for the page, on which every test also proves that it makes no error and asks nothing of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import headless_browser
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from stand_in_service import Made, Picture, Service, color_of, serving

Visit = Callable[..., Page]
Window = Callable[..., BrowserContext]
COLORS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 210), "yellow": (230, 210, 40)}

expect.set_options(timeout=30_000)  # only ever waited for by a test that fails


def painted(color: tuple[int, ...]) -> Picture:
    return np.full((24, 32, 3), color, np.uint8)


@pytest.fixture(scope="module")
def chromium(browser: headless_browser.Browser) -> Iterator[Browser]:
    quiet = [f"--disable-{part}" for part in ("gpu", "software-rasterizer", "background-networking", "sync")]
    few = ["--in-process-gpu", "--renderer-process-limit=1", "--no-zygote"]  # a process costs as much as a test
    options = ["--no-sandbox", *quiet, *few]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser.program, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def window(chromium: Browser) -> Window:
    """Return a window of a width, with Playwright's options; one for all tests that want the same."""
    windows: dict[str, BrowserContext] = {}

    def open_window(width: int = 1280, **options: Any) -> BrowserContext:  # noqa: ANN401 - Playwright's own
        settings = {"viewport": {"width": width, "height": 800}, "reduced_motion": "reduce", **options}
        if str(settings) not in windows:
            windows[str(settings)] = chromium.new_context(**settings)
        return windows[str(settings)]

    return open_window


@pytest.fixture
def visit(window: Window) -> Iterator[Visit]:
    """Open the page of a service at an address; its options are those of the window."""
    faults: list[str] = []

    with ExitStack() as stack:

        def open_page(service: Service, address: str = "", **options: Any) -> Page:  # noqa: ANN401
            origin = stack.enter_context(serving(service))  # a port of its own, and so a storage of its own
            page = window(**options).new_page()
            stack.callback(page.close)
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
