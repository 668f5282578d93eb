"""A page of the toolkit as tests read it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID_TAGS = {"br", "input", "meta"}


@dataclass
class Page(HTMLParser):
    """What a page holds; fails on a tag that is not balanced.

    `text` is all of it, `words` what is seen, from the header on, with single spaces; `rows` are the cells of tables.
    """

    html: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    text: str = ""
    words: str = ""
    open_tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)
        self.close()
        assert not self.open_tags
        self.words = " ".join(self.words.split())
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open_tags.append(tag)
        if tag == "header":
            self.words = ""
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag
        self.words += " " * (tag == "dt")

    def handle_data(self, data: str) -> None:
        self.text += data
        self.words += data
        if {"td", "th"} & set(self.open_tags):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def named(self, first: str) -> list[list[str]]:
        """The cells behind each row's first one, of the rows that begin so."""
        return [row[1:] for row in self.rows if row and row[0] == first]


def assert_asks_nothing_of_the_network(html: str) -> None:
    page = Page(html)
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"data:[^\"]+", "", html))
    assert not page.all("script") + page.all("link") + page.all("iframe")
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    links = [attributes[key] or "" for _, attributes in page.tags for key in ("src", "href") if key in attributes]
    assert links
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in links)


def assert_can_be_heard(html: str) -> None:
    page = Page(html)
    assert page.all("html") == [{"lang": "en"}]
    drawings = [svg for svg in page.all("svg") if svg.get("aria-hidden") != "true"]
    assert drawings
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawings)
    assert all(cell.get("scope") for cell in page.all("th"))
