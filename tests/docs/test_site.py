"""The site: it builds without a warning, asks nobody else for anything, and its links also work in the repository."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from documents import PAGES, ROOT

import reid

SITE_ADDRESS = re.compile(r"^(https?:)?//", re.IGNORECASE)

ONLY_IF_USED = {"unpkg.com/mermaid": "mermaid", "api.github.com": "md-source"}
"""What the theme's script would ask for, and the class of the elements for which it does; no page has any."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _Asked(HTMLParser):
    """What a page makes a browser fetch, the classes it uses, and its ids."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.classes: set[str] = set()
        self.ids: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.classes |= set(given.get("class", "").split())
        self.ids.add(given.get("id", ""))
        self.fetched += [given[name] for name in ("src", "srcset", "data", "poster") if name in given]
        if tag == "link" and given.get("rel") != "canonical":
            self.fetched.append(given["href"])


def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    pages = [_Asked(page) for page in site.rglob("*.html")]
    assert len(pages) > 40
    assert [address for page in pages for address in page.fetched if SITE_ADDRESS.match(address)] == []
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^)\"']*)", style.read_text()) == []
    for picture in site.rglob("*.svg"):
        assert re.findall(r"(?:href|src)=[\"'](?!#)[^\"']*", picture.read_text()) == []


def test_nothing_wakes_what_the_theme_would_ask_for(site: Path) -> None:
    scripts = "".join(script.read_text() for script in site.rglob("*.js"))
    known = "|".join([*map(re.escape, ONLY_IF_USED), r"unpkg\.com/resize-observer-polyfill"])  # for browsers of 2019
    asked = re.findall(r"https://(?:[\w.-]*unpkg|api)\.[\w./-]+", scripts)
    assert [address for address in asked if not re.match(rf"https://(?:{known})", address)] == []
    used = {name for page in site.rglob("*.html") for name in _Asked(page).classes}
    assert used.isdisjoint(ONLY_IF_USED.values())


def test_the_fonts_are_the_browsers_own(site: Path) -> None:
    assert "fonts.googleapis" not in (site / "index.html").read_text()
    assert list(site.rglob("*.woff*")) == []


def test_the_page_of_the_python_api_has_every_public_name(site: Path) -> None:
    page = _Asked(site / "python" / "index.html")
    shown = {name.rpartition(".")[2] for name in page.ids}
    assert {name for name in reid.__all__ if name != "__version__"} <= shown


def test_every_page_is_in_the_navigation() -> None:
    """A page that is not, is a warning, and ends the build; so is one that does not exist."""
    config = yaml.load((ROOT / "mkdocs.yml").read_text(), yaml.BaseLoader)
    named = set(re.findall(r"[\w/-]+\.md", str(config["nav"])))
    assert {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if ROOT / "docs" in page.parents} <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere_in_the_repository(page: Path) -> None:
    """Those of the site are checked by MkDocs, anchors included."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not urlsplit(target).scheme:
            assert (page.parent / target).exists(), target


def test_a_link_to_code_becomes_its_path_and_one_to_a_page_stays_a_link() -> None:
    sys.path.insert(0, str(ROOT / "docs" / "website"))
    try:
        from links import rewritten
    finally:
        sys.path.pop(0)
    assert rewritten("[`loop.py`](../train/loop.py)", "training.md") == "`train/loop.py`"
    assert rewritten("[the loop](../train/loop.py)", "training.md") == "the loop (`train/loop.py`)"
    assert rewritten("[rules](../CONTRIBUTING.md#layers)", "training.md") == "[rules](contributing.md#layers)"
    assert rewritten("[weights](docs/weights.md)", "contributing.md") == "[weights](weights.md)"
    assert rewritten("[back](../bundle.md)", "extending/loss.md") == "[back](../bundle.md)"
    assert rewritten("![p](docs/images/gate.svg)", "readme.md") == "![p](images/gate.svg)"
    assert rewritten("[gone](../train/gone.py)", "training.md") == "[gone](../train/gone.py)"
    assert rewritten("[far](https://example.org/a)", "training.md") == "[far](https://example.org/a)"
