"""The README: its commands and its Python, run as they stand in a folder of their own, its tree and its links."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Contents of the fenced blocks of a language; "" for those without one."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [content for found, content in fenced if found == language]


def test_the_main_path_and_the_python_example_run_as_they_stand(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    (commands,) = blocks("bash")
    assert len(commands.splitlines()) == 5
    for command in commands.splitlines():
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "results" / "report.html").is_file()
    (example,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(list((tmp_path / "rendered" / "image_query").iterdir()))


def tree() -> list[str]:
    """The folders of the tree, in its order.

    A line is two spaces per folder around it, the name, two spaces or more, and a description of at least two words;
    empty lines are for the eye::

        runtime/          what a deployed device runs
          sessions/         one file per backend
    """
    (text,) = (block for block in blocks("") if re.search(r"^runtime/ ", block, flags=re.MULTILINE))
    paths: list[str] = []
    folders: list[str] = []
    for line in filter(None, text.splitlines()):
        found = re.fullmatch(r"((?:  )*)([\w./-]+/)  +\S+ \S.*", line)
        assert found, f"not a line of the tree: {line!r}"
        indent, name = found.groups()
        depth = len(indent) // 2
        assert depth <= len(folders), f"not inside a folder: {line!r}"
        folders[depth:] = [name]
        paths.append("".join(folders))
    return paths


ROOMS = [link.name for link in (ROOT / "src" / "reid").iterdir() if link.is_symlink()]


def test_every_folder_in_the_tree_exists_and_is_there_once() -> None:
    assert len(tree()) == len(set(tree()))
    for path in tree():
        assert (ROOT / path).is_dir(), path


def test_the_tree_has_every_folder_with_code() -> None:
    assert len(ROOMS) > 7
    folders = {file.parent for room in ROOMS for file in (ROOT / room).rglob("*.py")}
    expected = {f"{folder.relative_to(ROOT).as_posix()}/" for folder in folders}
    expected |= {"benchmarks/", "docs/", "examples/", "src/reid/", "tests/"}
    assert sorted(expected - set(tree())) == []


def test_a_room_in_the_tree_imports_only_those_below_it() -> None:
    """As the README says, and as import-linter checks: the rooms stand in the order of its layers."""
    project = (ROOT / "pyproject.toml").read_text()
    (layers,) = re.findall(r"^layers = \[\n(.*?)^\]", project, flags=re.MULTILINE | re.DOTALL)
    ordered = [room for room in re.findall(r"reid\.(\w+)", layers) if room in ROOMS]
    assert [path[:-1] for path in tree() if path[:-1] in ROOMS] == ordered


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
