"""`--help` of every console script that the package declares."""

from __future__ import annotations

import re
import subprocess
import sys
import time
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
    return re.findall(r"^  (?!Example:)(\w+)", listed, re.MULTILINE)


def test_the_scripts_are_those_of_the_design() -> None:
    assert {"reid-data", "reid-train", "reid-eval", "reid-export", "reid-infer"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_answers_in_under_half_a_second(script: str) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = run(script, "--help")
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
    assert min(seconds) < 0.5


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
