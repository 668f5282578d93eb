"""Every message that docs/troubleshooting.md quotes is one that the code can print."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from documents import ROOT, blocks

ROOMS = [link.resolve() for link in (ROOT / "src" / "reid").iterdir() if link.is_symlink()]

MESSAGES = [block.text.strip() for block in blocks(ROOT / "docs" / "troubleshooting.md", "text")]

_LEAST = 12
"""The fewest characters of a text in the code that tell a message: others, such as "{}: {}", would fit any."""

_MOST_WORDS = 5
"""The most words of a name or number that a message is filled with."""

_COMMAND = re.compile(r"reid-[a-z]+( [^ ;]+)*")


def pieces_of(text: ast.expr) -> list[str]:
    """Return what a text, an f-string or a log's format says whatever it is filled with, piece by piece."""
    if isinstance(text, ast.JoinedStr):
        return [piece for part in text.values for piece in pieces_of(part)]
    if isinstance(text, ast.Constant) and isinstance(text.value, str):
        return re.split(r"%[sdr]|%\.\d+f", text.value)
    return []


@cache
def texts() -> set[tuple[str, ...]]:
    """Return the texts in the code that are long enough to tell a message, each as its pieces."""
    nodes = (node for room in ROOMS for file in room.rglob("*.py") for node in ast.walk(ast.parse(file.read_text())))
    found = (pieces_of(node) for node in nodes if isinstance(node, ast.JoinedStr | ast.Constant))
    return {tuple(filter(None, pieces)) for pieces in found if len("".join(pieces)) >= _LEAST}


def spans(pieces: tuple[str, ...], message: str) -> list[range]:
    """Return where the pieces stand in a message, one behind the other; nothing if not all of them do."""
    end, found = 0, []
    for piece in pieces:
        start = message.find(piece, end)
        if start < 0:
            return []
        end = start + len(piece)
        found.append(range(start, end))
    return found


def unexplained(message: str) -> list[str]:
    """Return the parts of a message that no text in the code has, and that are no name, number or command."""
    known = {position for pieces in texts() for span in spans(pieces, message) for position in span}
    rest = "".join("\0" if position in known else letter for position, letter in enumerate(message))
    parts = (_COMMAND.sub("", part).strip() for part in rest.split("\0"))
    return [part for part in parts if len(part.split()) > _MOST_WORDS]


@pytest.mark.parametrize("message", MESSAGES)
def test_the_code_has_the_message(message: str) -> None:
    assert not unexplained(message)


@pytest.mark.parametrize(
    "message",
    [
        "the frames were encoded unlike the model wants them: normalize them once more before you go on",
        "tensorrt was looked for in all the usual places without any success; ask whoever installed it",
    ],
)
def test_it_is_noticed_where_the_code_has_no_such_message(message: str) -> None:
    assert unexplained(message)


def test_the_sections_of_a_report_are_named_as_they_are() -> None:
    page = (ROOT / "docs" / "reading-a-report.md").read_text()
    (table,) = re.findall(r"^\| section \|.*?\n\n", page, flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"^\| ([^|]+) \|", table, flags=re.MULTILINE)[1:]
    assert len(named) > 6
    drawn = "".join(file.read_text() for file in (ROOT / "pages").rglob("*.py"))
    assert [name for name in named if name != "---" and f'"{name}"' not in drawn] == []


def test_the_page_quotes_many() -> None:
    assert len(MESSAGES) > 25
