"""`reid-verify` and what decides in `reid-infer`, and bad inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from table.row import Row
from table.verify import DECISIONS, VERIFICATION


@pytest.mark.parametrize("row", [*VERIFICATION, *DECISIONS], ids=str)
def test_a_bad_input_ends_as_the_table_says(row: Row, attempt: Callable[[Row], None]) -> None:
    attempt(row)
