"""The paired bootstrap against a loop over the same draws, and its coverage where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from reid.evaluation.verification.bootstrap import paired_interval


def test_equals_a_loop_over_the_same_draws() -> None:
    differences = np.random.default_rng(5).normal(size=23)
    random = np.random.default_rng(3)
    means = []
    for _ in range(200):
        drawn = random.integers(23, size=23)
        means.append(sum(differences[i] for i in drawn) / 23)
    expected = [np.quantile(means, 0.05), np.quantile(means, 0.95)]
    found = paired_interval(differences, resamples=200, confidence=0.9, seed=3)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    random, truth, trials = np.random.default_rng(0), 0.3, 200
    covered = 0
    for seed in range(trials):
        low, high = paired_interval(random.normal(truth, 2, 60), resamples=300, seed=seed)
        covered += low <= truth <= high
    assert 0.9 <= covered / trials <= 0.98


def test_narrows_with_the_root_of_the_number_of_queries() -> None:
    random = np.random.default_rng(0)
    few, many = (np.diff(paired_interval(random.normal(size=count)))[0] for count in (100, 6400))
    assert few / many == pytest.approx(8, rel=0.2)


def test_models_that_do_not_differ_have_no_interval_and_a_seed_repeats_it() -> None:
    assert paired_interval(np.zeros(9)) == (0, 0)
    differences = np.random.default_rng(1).normal(size=30)
    assert paired_interval(differences) == paired_interval(differences)
    assert paired_interval(differences) != paired_interval(differences, seed=1)
