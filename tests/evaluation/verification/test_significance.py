"""Paired tests and intervals against enumeration, scipy, published figures, and their own promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, ttest_1samp

from reid.evaluation.verification.significance import (
    mcnemar_p_value,
    normal_p_value,
    normal_quantile,
    proportion_interval,
    sign_flip_p_value,
)


@given(losses=st.integers(0, 60), gains=st.integers(0, 60))
def test_mcnemar_is_the_binomial_test_of_the_flips(losses: int, gains: int) -> None:
    expected = binomtest(losses, losses + gains, alternative="greater").pvalue if losses + gains else 1.0
    assert mcnemar_p_value(losses, gains) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_many_flips_does_not_overflow() -> None:
    assert mcnemar_p_value(5_000, 5_000) == pytest.approx(0.504, abs=1e-3)
    assert mcnemar_p_value(3_000, 0) == 0.5**3000


@given(st.lists(st.integers(-4, 4), max_size=11), st.integers(0, 3))
def test_sign_flips_equal_enumeration_of_all_signs(sizes: list[int], zeros: int) -> None:
    signs = itertools.product((1, -1), repeat=len(sizes))
    as_low = [sum(s * size for s, size in zip(sign, sizes, strict=True)) <= sum(sizes) for sign in signs]
    found = sign_flip_p_value(np.array([*sizes, *[0] * zeros], np.float64))
    assert found == pytest.approx(np.mean(as_low), abs=1e-12)


@given(losses=st.integers(0, 9), gains=st.integers(0, 4))
def test_sign_flips_of_one_size_are_mcnemars_test(losses: int, gains: int) -> None:
    differences = np.repeat([-100.0, 100.0], [losses, gains])
    assert sign_flip_p_value(differences) == pytest.approx(mcnemar_p_value(losses, gains))


def test_sign_flips_of_many_differences_come_near_the_t_test_and_repeat() -> None:
    random = np.random.default_rng(2)
    for mean in (-0.4, -0.1, 0.2):
        differences = random.normal(mean, 5, 1678)
        expected = ttest_1samp(differences, 0, alternative="less").pvalue
        assert sign_flip_p_value(differences) == pytest.approx(expected, abs=0.02)
        assert sign_flip_p_value(differences) == sign_flip_p_value(differences[::1])


def test_sign_flips_are_wrong_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    heavy = random.standard_t(2, size=(400, 30))  # differences of average precision have long tails
    refused = np.mean([sign_flip_p_value(differences) < 0.05 for differences in heavy])
    assert 0.02 <= refused <= 0.08


@pytest.mark.parametrize(
    ("losses", "gains", "queries", "interval"),
    [
        (7, 1, 21, (-0.517, -0.026)),  # Fagerland et al., BMC Medical Research Methodology 2013, table 5
        (0, 0, 50, (-0.0713, 0.0713)),  # z^2 / (n + z^2)
    ],
)
def test_score_intervals_are_those_of_the_literature(
    losses: int, gains: int, queries: int, interval: tuple[float, float]
) -> None:
    assert proportion_interval(losses, gains, queries) == pytest.approx(interval, abs=6e-4)


@given(losses=st.integers(0, 30), gains=st.integers(0, 30), more=st.integers(1, 200))
def test_score_intervals_hold_the_difference_and_mirror_it(losses: int, gains: int, more: int) -> None:
    queries = losses + gains + more
    low, high = proportion_interval(losses, gains, queries)
    assert -1 <= low <= (gains - losses) / queries <= high <= 1
    assert proportion_interval(gains, losses, queries) == pytest.approx((-high, -low), abs=1e-9)
    wider = proportion_interval(losses, gains, queries, confidence=0.99)
    assert wider[0] <= low
    assert wider[1] >= high


def test_score_intervals_cover_the_truth() -> None:
    random, trials = np.random.default_rng(1), 1500
    covered = 0
    for lost, gained in random.multinomial(200, (0.02, 0.01, 0.97), size=trials)[:, :2].tolist():
        low, high = proportion_interval(lost, gained, 200)
        covered += low <= -0.01 <= high
    assert covered / trials >= 0.94


def test_changes_of_some_standard_errors_are_scipys() -> None:
    for change in (-3.0, -0.5, 0.0, 2.0):
        assert normal_p_value(change, 0.7) == pytest.approx(norm.cdf(change / 0.7))
    assert [normal_p_value(change, 0) for change in (-1.0, 0.0, 1.0)] == [0, 1, 1]


def test_quantiles_are_scipys() -> None:
    for probability in (0.001, 0.5, 0.975, 0.9999):
        assert normal_quantile(probability) == pytest.approx(norm.ppf(probability), abs=1e-9)
