"""What tests of engines share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def frozen() -> Iterator[None]:
    """Let the garbage collector, which runs whenever an engine is loaded, pass over what other tests have left."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
