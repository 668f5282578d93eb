"""What the table of bad inputs runs in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run
from table.attempt import attempt as attempt_row
from table.row import Row
from table.world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Sound inputs; treat them as read-only."""
    return World(tmp_path_factory.mktemp("world"), tmp_path_factory.getbasetemp())


@pytest.fixture
def attempt(world: World, run_main: Run, tmp_path: Path) -> Callable[[Row], None]:
    """Run the command of a row in this process, and check what comes of it."""
    return lambda row: attempt_row(row, world, run_main, tmp_path)
