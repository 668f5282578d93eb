"""The bundle that `tests/trackers.sh` has made."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from reid import Session, open_session


@pytest.fixture(scope="session")
def session() -> Iterator[Session]:
    with open_session(os.environ["REID_TEST_BUNDLE"], "onnxruntime:cpu") as opened:
        yield opened
