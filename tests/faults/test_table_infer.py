"""`reid-infer` and bad inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from table.infer import CROPS, FILTERS, GALLERIES, MODELS, NUMBERS, OUTPUTS
from table.row import Row


@pytest.mark.parametrize("row", [*CROPS, *FILTERS, *GALLERIES, *MODELS, *OUTPUTS, *NUMBERS], ids=str)
def test_a_bad_input_ends_as_the_table_says(row: Row, attempt: Callable[[Row], None]) -> None:
    attempt(row)
