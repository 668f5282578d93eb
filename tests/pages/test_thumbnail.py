from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from special_files import SPECIAL, make_special

from reid.pages.base import Pictures
from reid.pages.thumbnail import thumbnail
from reid.pages.tracklet_cards import query_card
from reid.runtime.errors import DataError
from reid.runtime.tracklet import Tracklet


@pytest.mark.parametrize(
    ("height", "width", "size"), [(50, 100, (100, 50)), (640, 320, (64, 128)), (1, 100_000, (128, 1)), (1, 1, (1, 1))]
)
def test_a_picture_is_shrunk_to_at_most_128_pixels(height: int, width: int, size: tuple[int, int]) -> None:
    small = thumbnail(np.full((height, width, 3), 99, np.uint8))
    assert (small.width, small.height) == size
    content = base64.b64decode(small.uri.removeprefix("data:image/jpeg;base64,"))
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_a_card_without_a_picture(tmp_path: Path, kind: str) -> None:
    make_special(tmp_path / "a.jpg", kind)
    with pytest.raises(DataError, match=SPECIAL[kind]):
        thumbnail(tmp_path / "a.jpg")
    assert 'href="#no-picture"' in query_card("query 1", Tracklet("a", (tmp_path / "a.jpg",)), Pictures())


def test_a_picture_with_too_many_pixels_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bytes(cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1]))
    card = query_card("query 1", Tracklet("a", (path,)), Pictures())
    assert "data:image/jpeg" in card
    monkeypatch.setenv("REID_MAX_PIXELS", "599")
    assert "data:image/jpeg" not in query_card("query 1", Tracklet("a", (path,)), Pictures())
