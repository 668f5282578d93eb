"""Links of the site: some files outside docs/ are pages of it, and a link to any other file becomes its path."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]

_PAGES = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
"""Files that are pages of the site as they stand, and their places there; so are all results of measurements."""

_LINK = re.compile(r"(!?)\[([^][]+)\]\(([^()\s#:]+)(#[^()\s]*)?\)")


def pages_elsewhere() -> dict[str, str]:
    """Return the files outside docs/ that are pages of the site, relative to the repository, with their places."""
    results = (ROOT / "benchmarks" / "results").glob("*.md")
    return _PAGES | {file.relative_to(ROOT).as_posix(): f"results/{file.name}" for file in results}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere."""
    from mkdocs.structure.files import File, InclusionLevel

    for source, place in pages_elsewhere().items():
        file = File.generated(config, place, abs_src_path=str(ROOT / source))
        if place.startswith("results/"):
            file.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite a page's links."""
    return rewritten(markdown, page.file.src_uri)


def rewritten(markdown: str, place: str) -> str:
    """Return a page's text with the links that work on the site.

    Args:
        markdown: the text, whose links work in the repository.
        place: the page's place on the site.
    """
    places = pages_elsewhere()
    source = next((source for source, target in places.items() if target == place), f"docs/{place}")
    folder = str(PurePosixPath(place).parent)

    def replaced(link: re.Match[str]) -> str:
        image, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        path = normpath(str(PurePosixPath(source).parent / target))
        if path in places or path.startswith("docs/"):
            return f"{image}[{text}]({relpath(places.get(path, path.removeprefix('docs/')), folder)}{anchor})"
        if not (ROOT / path).exists():
            return link[0]  # MkDocs warns of it
        return f"`{path}`" if path.endswith(text.strip("`")) else f"{text} (`{path}`)"

    return _LINK.sub(replaced, markdown)
