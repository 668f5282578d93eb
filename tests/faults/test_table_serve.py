"""`reid-serve` and bad inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from table.row import Row
from table.serve import SERVED, SETTINGS


@pytest.mark.parametrize("row", [*SERVED, *SETTINGS], ids=str)
def test_a_bad_input_ends_as_the_table_says(row: Row, attempt: Callable[[Row], None]) -> None:
    attempt(row)
