"""What is measured of a crop answers to what is done to the crop."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from reid.runtime.data_drift.looks import look
from reid.runtime.data_drift.observing import agreement_of
from reid.runtime.data_drift.quantities import PIXEL_QUANTITIES
from reid.runtime.quality import assess


@pytest.fixture
def crop() -> NDArray[np.uint8]:
    """A crop of 80 x 120 pixels, sharp and reddish, with edges that are mostly horizontal."""
    noise = np.random.default_rng(0).integers(0, 120, (20, 15, 3))
    large = cv2.resize(noise.astype(np.uint8), (120, 80), interpolation=cv2.INTER_NEAREST)
    large[::8] = 200
    large[:, :, 0] = np.minimum(large[:, :, 0].astype(int) + 50, 255)
    return np.asarray(large, np.uint8)


def looks(crop: NDArray[np.uint8]) -> dict[str, float]:
    return dict(zip(PIXEL_QUANTITIES, look(np.ascontiguousarray(crop)).tolist(), strict=True))


def test_the_size_and_the_sharpness_are_those_of_quality(crop: NDArray[np.uint8]) -> None:
    found, quality = looks(crop), assess(crop)
    assert math.exp(found["size"]) == pytest.approx(quality.pixels)
    assert math.expm1(found["sharpness"]) == pytest.approx(quality.sharpness)
    assert math.exp(found["shape"]) == pytest.approx(1.5)


def test_turning_swaps_the_sides_and_the_edges(crop: NDArray[np.uint8]) -> None:
    before, after = looks(crop), looks(np.rot90(crop))
    for quantity in ("shape", "edges"):
        assert after[quantity] == pytest.approx(-before[quantity], abs=0.02)
    assert before["edges"] > 0.2
    for quantity in ("size", "brightness", "color"):
        assert after[quantity] == pytest.approx(before[quantity], abs=0.01)


def test_swapped_channels_turn_the_sign_of_the_color(crop: NDArray[np.uint8]) -> None:
    assert looks(crop)["color"] == pytest.approx(float((crop[..., 0].mean() - crop[..., 2].mean()) / 255), abs=0.01)
    assert looks(crop[..., ::-1])["color"] == pytest.approx(-looks(crop)["color"])


def test_padding_is_a_flat_border(crop: NDArray[np.uint8]) -> None:
    padded = np.pad(crop, ((20, 20), (0, 0), (0, 0)), constant_values=114)
    assert looks(crop)["border"] == 0
    assert looks(padded)["border"] == pytest.approx(1 / 3, abs=0.05)
    assert looks(np.full((9, 9, 3), 7, np.uint8))["border"] == 1


def test_blur_takes_detail(crop: NDArray[np.uint8]) -> None:
    assert looks(np.asarray(cv2.GaussianBlur(crop, (0, 0), 2), np.uint8))["detail"] < looks(crop)["detail"] - 1


def test_the_agreement_is_the_mean_similarity_of_two_frames() -> None:
    frames = np.random.default_rng(0).normal(size=(5, 16)) + 1
    frames /= np.linalg.norm(frames, axis=1, keepdims=True)
    pairs = [float(frames[i] @ frames[j]) for i in range(5) for j in range(5) if i != j]
    assert agreement_of(float(np.linalg.norm(frames.mean(axis=0))), 5) == pytest.approx(math.atanh(np.mean(pairs)))
