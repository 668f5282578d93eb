"""Boxes of one picture, embedded: the crops are those of a naive loop, and the features those of `embed`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from projection import DIMENSIONS, ProjectionSession

from reid.runtime.boxes import embed_boxes
from reid.runtime.embedding import embed
from reid.runtime.errors import DataError
from reid.runtime.sessions.session import BatchLimits
from reid.runtime.tracklet import Tracklet

HEIGHT, WIDTH = 9, 12
PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)

CORNER = st.floats(-20, 20, width=32) | st.sampled_from([-1e30, 1e30])


def cut(box: tuple[float, float, float, float]) -> NDArray[np.uint8] | None:
    """The pixels whose place is in the rounded box, one by one."""
    left, top, right, bottom = (round(corner) for corner in box)
    rows = [y for y in range(HEIGHT) if top <= y < bottom]
    columns = [x for x in range(WIDTH) if left <= x < right]
    return np.array([[PICTURE[y, x] for x in columns] for y in rows]) if rows and columns else None


@given(st.lists(st.tuples(CORNER, CORNER, CORNER, CORNER), max_size=6))
def test_features_are_those_of_the_crops_cut_off_at_the_edge(boxes: list[tuple[float, float, float, float]]) -> None:
    features = embed_boxes(ProjectionSession(BatchLimits(2, 2)), PICTURE, boxes)
    assert features.dtype == np.float32
    assert features.shape == (len(boxes), DIMENSIONS)
    for box, feature in zip(boxes, features, strict=True):
        if (crop := cut(box)) is None:
            assert not feature.any()
        else:
            (one,) = embed(ProjectionSession(), [Tracklet("t", [crop])])
            np.testing.assert_array_equal(feature, one.embedding)


def test_a_picture_that_is_a_view_with_its_colors_turned_is_read_as_it_stands() -> None:
    bgr = np.ascontiguousarray(PICTURE[:, :, ::-1])
    box = [(1, 2, 8, 7)]
    features = embed_boxes(ProjectionSession(), bgr[:, :, ::-1], box)
    np.testing.assert_array_equal(features, embed_boxes(ProjectionSession(), PICTURE, box))
    assert not np.allclose(features, embed_boxes(ProjectionSession(), bgr, box))


@pytest.mark.parametrize(
    ("picture", "boxes", "message"),
    [
        (PICTURE.astype(np.float32), [(0, 0, 1, 1)], r"the picture is float32 \[9, 12, 3\], expected RGB, uint8"),
        (PICTURE[:, :, 0], [], r"the picture is uint8 \[9, 12\], expected"),
        (PICTURE, [(0, 0, 1, 1, 0.5)], r"the boxes are \[1, 5\], expected \[n, 4\]: left, top, right, bottom"),
        (PICTURE, [0, 0, 1, 1], r"the boxes are \[4\], expected"),
        (PICTURE, [(0, 0, 1, 1), (0, float("nan"), 1, 1)], r"box 1 is \[0.0, nan, 1.0, 1.0\]; leave out boxes"),
    ],
)
def test_what_is_no_picture_or_no_box_is_named(picture: NDArray[np.uint8], boxes: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        embed_boxes(ProjectionSession(), picture, boxes)  # type: ignore[arg-type]
