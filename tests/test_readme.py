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


def tree() -> list[tuple[str, str]]:
    """Path and description of every line of the tree.

    A line is two spaces per folder around it, the name (a folder's ends with a slash), two spaces or more, and a
    description of at least two words::

        runtime/          what a deployed device runs
          sessions/         one file per backend
            onnxruntime.py    ONNX Runtime on CPU and CUDA
          errors.py         the errors that users see
    """
    (text,) = (block for block in blocks("") if re.search(r"^runtime/ ", block, flags=re.MULTILINE))
    entries: list[tuple[str, str]] = []
    folders: list[str] = []
    for line in text.splitlines():
        found = re.fullmatch(r"((?:  )*)([\w./-]+)  +(\S+ \S.*)", line)
        assert found, f"not a line of the tree: {line!r}"
        indent, name, description = found.groups()
        depth = len(indent) // 2
        assert depth <= len(folders), f"not inside a folder: {line!r}"
        del folders[depth:]
        entries.append(("".join(folders) + name, description))
        if name.endswith("/"):
            folders.append(name)
    return entries


def test_every_name_in_the_tree_exists_and_is_there_once() -> None:
    paths = [path for path, _ in tree()]
    assert len(paths) == len(set(paths))
    for path in paths:
        assert (ROOT / path).exists(), path
        assert (ROOT / path).is_dir() == path.endswith("/"), path


def test_the_tree_has_every_file_of_every_room() -> None:
    rooms = [link.name for link in (ROOT / "src" / "reid").iterdir() if link.is_symlink()]
    assert len(rooms) > 7
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    expected = {path.relative_to(ROOT).as_posix() for path in files if path.name != "__init__.py"}
    expected |= {f"{path.parent.relative_to(ROOT).as_posix()}/" for path in files if path.name == "__init__.py"}
    named = {path for path, _ in tree()}
    assert sorted(expected - named) == []


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
