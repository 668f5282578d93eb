"""`reid-data` and `reid-eval`, and bad inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from table.data import CONVERSION, EVALUATION, INSPECTION, SYNTHESIS, TABLES
from table.row import Row


@pytest.mark.parametrize("row", [*SYNTHESIS, *INSPECTION, *TABLES, *CONVERSION, *EVALUATION], ids=str)
def test_a_bad_input_ends_as_the_table_says(row: Row, attempt: Callable[[Row], None]) -> None:
    attempt(row)
