"""What tells two sets apart and what does not, on features drawn so that the answer is known."""

from __future__ import annotations

import domain_gap
import numpy as np
import pytest
from domain_gap import Classifier, Sample, halved, halves_told_apart, told_apart

VEHICLES, CAMERAS, DIMENSIONS = 24, 8, 48


def drawn(seed: int, *, shift: float = 0.0, of_vehicles: float = 0.0, of_cameras: float = 0.0) -> Sample:
    """Every vehicle under every camera: noise, with offsets of the set, of each vehicle and of each camera."""
    rng = np.random.default_rng(seed)
    vehicles, cameras = (grid.ravel() for grid in np.meshgrid(np.arange(VEHICLES), np.arange(CAMERAS)))
    features = rng.normal(size=(len(vehicles), DIMENSIONS)) + shift
    features += of_vehicles * rng.normal(size=(VEHICLES, DIMENSIONS))[vehicles]
    features += of_cameras * rng.normal(size=(CAMERAS, DIMENSIONS))[cameras]
    return Sample(features.astype(np.float32), vehicles, cameras)


def test_equal_sets_are_not_told_apart() -> None:
    assert told_apart(drawn(1), drawn(2)).mean == pytest.approx(50, abs=6)


def test_sets_that_differ_are() -> None:
    assert told_apart(drawn(1), drawn(2, shift=2)).mean > 98


@pytest.mark.parametrize("known_by", ["of_vehicles", "of_cameras"])
def test_known_vehicles_and_cameras_do_not_help(known_by: str) -> None:
    first, second = (drawn(seed, **{known_by: 10.0}) for seed in (1, 2))
    everything = Classifier(first.features, second.features)
    seen = np.concatenate([everything(first.features) > 0, everything(second.features) < 0])
    assert seen.mean() > 0.9  # a classifier that has seen them all recognizes them
    assert told_apart(first, second).mean < 75


def test_halves_of_one_set_are_not_told_apart_by_chance() -> None:
    assert halves_told_apart(drawn(1)).mean == pytest.approx(50, abs=6)


def test_halves_are_of_distinct_numbers() -> None:
    numbers = np.array([5, 5, 5, 5, 7, 9, 11])
    for seed in range(5):
        side = halved(numbers, np.random.default_rng(seed))
        assert len(set(numbers[side])) == len(set(numbers[~side])) == 2


def test_the_dual_form_is_weighted_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 2, size=(7, 3)), rng.normal(0, 1, size=(13, 3))
    features, target = np.concatenate([first, second]), np.repeat([1.0, -1.0], [7, 13])
    weights = np.repeat([10 / 7, 10 / 13], [7, 13])
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    centered = scaled - np.average(scaled, axis=0, weights=weights)
    root = np.sqrt(weights)[:, None]
    rows = np.vstack([root * centered, np.sqrt(3) * np.eye(3)])  # the penalty is the number of features
    slope, *_ = np.linalg.lstsq(rows, np.concatenate([root[:, 0] * target, np.zeros(3)]), rcond=None)
    np.testing.assert_allclose(Classifier(first, second)(features), centered @ slope, atol=1e-4)


def test_tables_name_what_was_told_apart() -> None:
    text = domain_gap.tables(
        {"a and b": domain_gap.Accuracy(99.04, 0.51)}, {"a": {"features": 12.345}, "b": {"features": 7.0}}
    )
    assert "| a and b | 99.0 ± 0.5 |" in text
    assert "| a | 12.35 |" in text or "| a | 12.34 |" in text
