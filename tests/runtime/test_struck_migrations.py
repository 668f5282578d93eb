"""A migration that is killed, or whose disk is full, leaves the store before or after, and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import struck_migrations
from shimmed import shimmed_environment
from struck_galleries import FAR

_IN_MEMORY = Path("/dev/shm")
"""Where there is such a folder, nothing waits for a disk; to a process that is killed, it makes no difference."""


@pytest.fixture(scope="module")
def struck(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    watched = tmp_path_factory.mktemp("watched")
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else watched) as root:
        environment = shimmed_environment(watched, below=Path(root), kill_at=FAR, full_after=FAR)
        environment |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if Path(path).name == "helpers")}
        program = [sys.executable, struck_migrations.__file__, root, "10"]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, cwd=watched)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def test_the_store_is_whole_after_each_kill_and_the_migration_goes_on(struck: dict[str, Any]) -> None:
    assert struck["kills"] == 10
    assert struck["findings"] == []


def test_it_was_killed_at_each_step_and_had_too_small_a_disk(struck: dict[str, Any]) -> None:
    codes = struck["codes"]
    steps = codes.index(0)
    assert codes[:steps] == [-signal.SIGKILL] * steps
    assert steps > 20
    full = codes[steps + 1 :]
    assert full[0] == 28  # ENOSPC
    assert set(full) <= {0, 28}
