"""`reid-gallery`, its folders in `reid-infer`, and bad inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from table.gallery import CHANGES, STORES
from table.row import Row


@pytest.mark.parametrize("row", [*STORES, *CHANGES], ids=str)
def test_a_bad_input_ends_as_the_table_says(row: Row, attempt: Callable[[Row], None]) -> None:
    attempt(row)
