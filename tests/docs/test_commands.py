"""Every command line in README and docs: known, and read by the command's own parser, which checks names and values."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import typer
from documents import PAGES, ROOT, Command, blocks, commands

SCRIPTS = {point.name: point for point in distribution("reid").entry_points if point.group == "console_scripts"}

OTHERS = {
    ".": "an environment",
    "curl": "a question to a service that runs",
    "git": "the source of a peer",
    "make": "a target of the Makefile",
    "modelopt/bin/pip": "another environment",
    "pip": "an installation",
    "python": "a script",
    "python3": "an environment",
    "ray": "a cluster",
    "scp": "another machine",
    "sudo": "a system's package",
    "torchrun": "several processes",
}
"""The other programs that pages show, and what for: they are not run."""

_CONTINUED = re.compile(r"reid\.commands\.(\w+)")

ALL = [command for page in PAGES for command in commands(page)]
OURS = [command for command in ALL if command.words[0] in SCRIPTS]


@cache
def parser(script: str) -> Any:  # noqa: ANN401 - click's classes, or those of typer's copy of click
    """Return what parses the words behind a command's name."""
    module = import_module(SCRIPTS[script].module)
    return typer.main.get_command(module.app)


def parsed(command: Any, words: list[str], name: str) -> None:  # noqa: ANN401
    """Parse words down to the last subcommand. Raises click's UsageError, without running anything."""
    with command.make_context(name, words, resilient_parsing=False) as context:
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        if hasattr(command, "resolve_command") and rest:
            _, subcommand, behind = command.resolve_command(context, rest)
            parsed(subcommand, behind, f"{name} {rest[0]}")


def refusal(command: Command) -> str:
    """Return why a command of ours would be refused as wrong usage; empty if it would not."""
    try:
        parsed(parser(command.words[0]), list(command.words[1:]), command.words[0])
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())
    return ""


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go where the files and folders that pages name could be: parsers ask for some of them to exist."""
    monkeypatch.chdir(tmp_path)


def test_the_pages_have_commands() -> None:
    assert len(OURS) > 60
    assert {command.words[0] for command in OURS} == set(SCRIPTS)


@pytest.mark.parametrize("command", OURS, ids=str)
def test_the_parser_takes_it(command: Command) -> None:
    assert not refusal(command)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("reid-train VeRi --recipy strong", "--recipy"),
        ("reid-train VeRi --epochs 0", "--epochs"),
        ("reid-export --engine tensorflow", "tensorflow"),
        ("reid-export --tolerance-map 101", "--tolerance-map"),
        ("reid-gallery apend store crops", "apend"),
        ("reid-gallery append store crops --shard 9/3", "9/3"),
        ("reid-infer gallery", "QUERY"),
    ],
)
def test_the_parser_refuses_what_is_wrong(line: str, said: str) -> None:
    assert said in refusal(Command(tuple(shlex.split(line)), "here"))


def test_every_other_program_is_known() -> None:
    assert sorted({command.words[0] for command in ALL} - set(SCRIPTS)) == sorted(OTHERS)


@pytest.mark.parametrize("command", [one for one in ALL if one.words[0] in ("python", "torchrun")], ids=str)
def test_the_script_or_module_exists(command: Command) -> None:
    named = [word for word in command.words if word.endswith(".py")]
    modules = [after for word, after in zip(command.words, command.words[1:], strict=False) if word == "-m"]
    assert named or modules
    for script in named:
        assert (ROOT / script.rpartition(":")[2]).is_file(), script
    for module in modules:
        assert module == "venv" or import_module(module)


def test_the_module_behind_torchrun_takes_the_options() -> None:
    lines = [command for command in ALL if command.words[0] == "torchrun"]
    assert lines
    for command in lines:
        module = command.words.index("-m") + 1
        found = _CONTINUED.fullmatch(command.words[module])
        assert found
        ours = Command((f"reid-{found[1]}", *command.words[module + 1 :]), command.where)
        assert not refusal(ours)


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {command.words[1] for command in ALL if command.words[0] == "make"}
    assert named
    assert named <= targets


def test_what_is_quick_runs(bundle: Path, checkpoint: Path, veri: Path, tmp_path: Path) -> None:
    """The commands of the pages that take seconds, on a small bundle and rendered vehicles."""
    (tmp_path / "bundle").symlink_to(bundle)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "latest").symlink_to(checkpoint)
    for name in ("VeRi", "DATA", "rendered"):
        (tmp_path / name).symlink_to(veri)
    for name in ("query", "gallery", "crops"):
        (tmp_path / name).symlink_to(veri / "image_query")
    (tmp_path / "monday").symlink_to(veri / "image_query")
    quick = ["reid-data inspect VeRi", "reid-gallery append store monday/", "reid-infer store query/"]
    quick += ["reid-eval runs/latest VeRi"]
    shown = [shlex.join(command.words) for command in OURS]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for line in quick:
        assert line in shown, f"no page shows {line}"
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_the_five_commands_are_the_same_everywhere() -> None:
    """test_readme.py runs them."""
    pages = [ROOT / "README.md", ROOT / "docs" / "index.md"]
    first, second = (next(blocks(page, "bash")).text for page in pages)
    assert first == second
    for line in first.splitlines():
        assert line in (ROOT / "docs" / "getting-started.md").read_text().splitlines()
