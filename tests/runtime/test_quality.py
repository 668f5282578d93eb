"""A crop's quality: what it is made of, its weight, and the gate of a gallery."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid import DataError
from reid.runtime.quality import Quality, assess, reason_to_refuse, weight


def textured(height: int = 128, width: int = 128) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def blurred(crop: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8)


def naive_sharpness(crop: NDArray[np.uint8]) -> float:
    """Of a crop of 128 x 128, in gray levels already: means of 2 x 2, then the Laplacian by its definition."""
    small = np.rint(crop[..., 0].astype(float).reshape(64, 2, 64, 2).mean(axis=(1, 3)))
    padded = np.pad(small, 1, mode="reflect")
    edges = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * small
    return float(edges.var())


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    gray = np.repeat(textured()[..., :1], 3, axis=2)
    assert assess(gray).sharpness == pytest.approx(naive_sharpness(gray), rel=0.01)


def test_a_crop_without_texture_has_no_sharpness_and_the_least_weight() -> None:
    quality = assess(np.full((90, 120, 3), 77, np.uint8))
    assert quality == Quality(90, 0.0)
    assert quality.weight == 0.01  # or a track of such crops had no embedding
    assert reason_to_refuse(quality) == "sharpness 0.0, below 40"


def test_the_more_blurred_the_less_weight() -> None:
    crops = [blurred(textured(), sigma) for sigma in (1, 3, 6, 12)]
    sharpness = [assess(crop).sharpness for crop in crops]
    assert sharpness == sorted(sharpness, reverse=True)
    weights = [weight(crop) for crop in crops]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] < weights[0] / 2


@pytest.mark.parametrize(
    ("box", "sides"),
    [
        ((10, 10, 80, 60), 0),
        ((0, 10, 80, 60), 1),
        ((-5, -5, 80, 60), 2),
        ((10, 0, 80, 100), 2),
        ((120, 10, 80, 60), 1),
        ((119, 10, 80, 60), 0),
        ((0, 0, 200, 100), 4),
    ],
)
def test_a_box_is_cut_off_where_it_reaches_the_border(box: tuple[int, int, int, int], sides: int) -> None:
    quality = assess(textured(), box, (200, 100))
    assert quality.cut_sides == sides
    assert quality.weight == pytest.approx(weight(textured()) * 0.5**sides)
    assert (reason_to_refuse(quality) is None) == (sides <= 1)


def test_a_small_crop_is_refused_and_weighs_less() -> None:
    small, medium, large = (assess(textured(side, 2 * side)) for side in (20, 40, 100))
    assert reason_to_refuse(small) == "20 pixels on its shorter side, fewer than 24"
    assert reason_to_refuse(medium) is None
    assert small.weight < medium.weight < large.weight == 1


@given(st.integers(1, 4000), st.floats(0, 1e5), st.integers(0, 4))
def test_a_weight_is_a_share_and_grows_with_every_attribute(pixels: int, sharpness: float, sides: int) -> None:
    quality = Quality(pixels, sharpness, sides)
    assert 0 < quality.weight <= 1
    assert Quality(pixels + 1, sharpness, sides).weight >= quality.weight
    assert Quality(pixels, 2 * sharpness, sides).weight >= quality.weight
    assert Quality(pixels, sharpness, sides + 1).weight <= quality.weight


@given(st.integers(1, 300), st.integers(1, 300))
def test_crops_of_any_size_are_judged(height: int, width: int) -> None:
    crop = textured(height, width)
    quality = assess(crop)
    assert quality.pixels == min(height, width)
    assert quality == assess(np.ascontiguousarray(np.pad(crop, ((0, 0), (3, 4), (0, 0))))[:, 3 : 3 + width])  # a view


def test_what_is_no_crop_is_refused() -> None:
    for wrong in (textured()[..., 0], textured().astype(np.float32), textured()[:0]):
        with pytest.raises(DataError, match=r"the crop is .* expected uint8 \[h, w, 3\]"):
            assess(wrong)
    with pytest.raises(ValueError, match="together"):
        assess(textured(), (0, 0, 5, 5))
