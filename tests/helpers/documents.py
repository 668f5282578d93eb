"""The pages of the documentation: their fenced blocks, and the commands in these."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "Command", "blocks", "commands"]

ROOT = Path(__file__).parents[2]

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^\1```$", flags=re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^(?:\w+)?\$ ")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its language ("" for none), its text and the line of the page where that begins."""

    page: Path
    language: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command line, its words, and where it stands."""

    words: tuple[str, ...]
    where: str

    def __str__(self) -> str:
        return f"{self.where} {shlex.join(self.words)}"


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page that are in one of these languages; all if none is given."""
    content = page.read_text()
    for found in _FENCE.finditer(content):
        if not languages or found[2] in languages:
            indent = len(found[1])
            text = "".join(line[indent:] for line in found[3].splitlines(keepends=True))
            yield Block(page, found[2], text, content.count("\n", 0, found.start(3)) + 1)


def commands(page: Path) -> Iterator[Command]:
    """Yield the commands of a page's blocks: all lines of `bash`, and of `console` those behind a prompt."""
    for block in blocks(page, "bash", "sh", "console"):
        text = block.text.replace("\\\n", "  ")
        for line in text.splitlines():
            prompt = _PROMPT.match(line)
            if block.language == "console" and not prompt:
                continue
            lexer = shlex.shlex(line[prompt.end() :] if prompt else line, posix=True, punctuation_chars="&|;")
            lexer.whitespace_split = True
            yield from _simple(list(lexer), str(block))


def _simple(words: list[str], where: str) -> Iterator[Command]:
    """Split a line at `&&`, `|` and `;`, and leave out assignments before a command's name."""
    current: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set("&|;"):
            if current:
                yield Command(tuple(current), where)
            current = []
        elif current or not re.fullmatch(r"[A-Z_]+=.*", word):
            current.append(word)
