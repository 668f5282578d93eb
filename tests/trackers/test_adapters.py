"""The adapters are small, take only public names, and name nothing of the packages that is not used.

That they work is tested against the packages themselves: `make test-trackers`.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import reid

ADAPTERS = sorted((Path(__file__).parents[2] / "examples" / "trackers").glob("*.py"))
MOST_LINES = 30


def lines_of_code(source: str) -> int:
    """How many lines are neither empty nor comment nor docstring."""
    tree = ast.parse(source)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [node.body[0] for node in ast.walk(tree) if isinstance(node, kinds) and ast.get_docstring(node)]
    documented = {line for text in texts for line in range(text.lineno, (text.end_lineno or 0) + 1)}
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and line.strip()[0] != "#" for number, line in lines if number not in documented)


def test_lines_of_code_are_counted() -> None:
    assert (
        lines_of_code('"""A text.\n\nOf three lines."""\n\nx = 1  # one\n# two\ndef f():\n    """f."""\n    return x\n')
        == 3
    )


def test_there_is_one_for_each_package() -> None:
    assert [path.stem for path in ADAPTERS] == ["boxmot", "roboflow", "ultralytics"]


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: path.stem)
def test_an_adapter_can_be_copied_and_takes_public_names_alone(path: Path) -> None:
    source = path.read_text()
    assert lines_of_code(source) <= MOST_LINES
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imported if node.module == "reid" for alias in node.names}
    assert names
    assert names <= set(reid.__all__)
    assert not [node.module for node in imported if (node.module or "").startswith("reid.")]
    usage = ast.get_docstring(ast.parse(source)) or ""
    shown = usage.partition("::\n\n")[2]
    assert "open_session" in shown
    ast.parse("\n".join(line.removeprefix("    ") for line in shown.splitlines()))
