from __future__ import annotations

import cv2
import pytest


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test in which an image is decoded; the limits are the default ones."""

    def decoder(*arguments: object) -> None:
        pytest.fail("the image is decoded")

    monkeypatch.setattr(cv2, "imdecode", decoder)
    monkeypatch.delenv("REID_MAX_PIXELS", raising=False)
