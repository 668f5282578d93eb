"""`--help` of every console script that the package declares."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

SCRIPTS = sorted(point.name for point in distribution("reid").entry_points if point.group == "console_scripts")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = Path(sys.executable).with_name(script)
    return subprocess.run([str(path), *arguments], capture_output=True, text=True, timeout=30, check=False)


def commands_in(page: str) -> list[str]:
    """Names of the sub-commands that a help page lists."""
    _, _, listed = page.partition("\nCommands:\n")
    return re.findall(r"^  (?!Example:)([\w-]+)", listed, re.MULTILINE)


def test_the_scripts_are_those_of_the_design() -> None:
    commands = [
        "data",
        "train",
        "eval",
        "export",
        "calibrate",
        "infer",
        "gallery",
        "serve",
        "verify",
        "bench",
        "doctor",
    ]
    assert {f"reid-{name}" for name in commands} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_takes_less_than_half_a_second_of_a_core(script: str) -> None:
    seconds = []
    for _ in range(3):
        before = of_children()
        done = run(script, "--help")
        seconds.append(of_children() - before)
        assert done.returncode == 0, done.stderr
    assert 0 < min(seconds) < 0.5


def of_children() -> float:
    """Return the CPU time of all processes that this one has started and seen end, in seconds."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_an_example_that_begins_with_the_command_itself(script: str) -> None:
    page = run(script, "--help").stdout
    for words in ([script], *([script, command] for command in commands_in(page))):
        page = run(*words, "--help").stdout
        assert re.search(rf"^ *Example: {' '.join(words)} \S", page, re.MULTILINE), page


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_option_is_wrong_usage(script: str) -> None:
    done = run(script, "--no-such-option")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--no-such-option" in done.stderr
    assert "Traceback" not in done.stderr


ENTRY = r"^  \[?(--[\w-]+|[A-Z]+)\b[^\n]*?(?:  +|\n {10,})\S"


def sections(page: str) -> dict[str, list[str]]:
    """Heading -> the options and arguments that a help page explains under it, beside the name or on the next line."""
    blocks = re.split(r"^([A-Z][\w ]*):\n", page, flags=re.MULTILINE)[1:]
    entries = (re.findall(ENTRY, text, re.MULTILINE) for text in blocks[1::2])
    return dict(zip(blocks[::2], entries, strict=True))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["reid-eval"],
            {
                "Arguments": ["MODEL", "DATA"],
                "Options": ["--protocols", "--expand-queries", "--rerank", "--same-camera", "--help"],
                "Data": ["--layout", "--max-pixels", "--test-set"],
                "Model": ["--session", "--precision"],
                "Output": ["--submission", "--json"],
            },
        ),
        (
            ["reid-infer"],
            {
                "Arguments": ["GALLERY", "QUERY"],
                "Options": ["--top-k", "--expand-queries", "--rerank", "--false-match-rate", "--shard", "--help"],
                "Filters": [
                    *("--camera", "--not-camera", "--other-cameras"),
                    *("--since", "--until", "--travel-times"),
                ],
                "Check": ["--check", "--new-cameras", "--fail-on-drift"],
                "Data": ["--sightings", "--max-pixels"],
                "Model": ["--model", "--session", "--precision"],
                "Output": ["--output", "--json"],
            },
        ),
        (
            ["reid-data", "inspect"],
            {
                "Arguments": ["DATA"],
                "Options": ["--help"],
                "Data": ["--layout", "--max-pixels"],
                "Output": ["--json"],
            },
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_lists_options_under_the_headings_of_their_panels(
    words: list[str], expected: dict[str, list[str]]
) -> None:
    page = run(*words, "--help").stdout
    assert sections(page) == expected
    assert list(sections(page)) == list(expected)
    assert page.isascii(), "plain text: no boxes"


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_option_is_lost_on_the_help_page(script: str) -> None:
    (point,) = (point for point in distribution("reid").entry_points if point.name == script)
    module = importlib.import_module(point.module)
    for command in module.app.registered_commands:
        name = command.callback.__name__.replace("_", "-")
        words = [script] if len(module.app.registered_commands) == 1 else [script, name]
        parameters = inspect.signature(command.callback).parameters.values()
        asked = [one for one in parameters if "Context" not in str(one.annotation)]  # typer's own
        listed = [entry for entries in sections(run(*words, "--help").stdout).values() for entry in entries]
        assert len(listed) == len(set(listed)) == len(asked) + len(["--help"])
