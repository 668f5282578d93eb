"""The frontier beside every subset of a few layers."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.calibration.frontier import OVERHEAD, cost_of, frontier


def layers(seed: int, count: int) -> tuple[dict[str, float], dict[str, float]]:
    """Errors over four orders, and work in whole steps of the frontier's cost."""
    random = np.random.default_rng(seed)
    names = [f"layer{index}" for index in range(count)]
    errors = 10.0 ** -random.uniform(0, 4, count)
    work = random.integers(0, 200, count) / 1000
    return dict(zip(names, errors.tolist(), strict=True)), dict(zip(names, work.tolist(), strict=True))


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_no_subset_has_less_error_at_no_more_cost(seed: int, count: int) -> None:
    errors, work = layers(seed, count)
    mixes = frontier(errors, work)
    subsets = chain.from_iterable(combinations(work, size) for size in range(count + 1))
    every = [(cost_of(chosen, work), sum(errors.values()) - sum(errors[one] for one in chosen)) for chosen in subsets]
    for index, (cost, error) in enumerate(zip(mixes.costs, mixes.errors, strict=True)):
        mix = mixes.mix(index)
        assert cost_of(mix, work) == pytest.approx(cost)
        assert sum(errors[name] for name in work if name not in mix) == pytest.approx(error, abs=1e-9)
        assert error <= min(other for spent, other in every if spent <= cost + 1e-9) + 1e-9
    assert list(mixes.costs) == sorted(mixes.costs)
    assert list(mixes.errors) == sorted(mixes.errors, reverse=True)


def test_it_leads_from_all_layers_in_int8_to_all_in_fp16() -> None:
    errors, work = layers(0, 20)
    mixes = frontier(errors, work)
    assert mixes.mix(0) == frozenset()
    assert mixes.mix(len(mixes) - 1) == frozenset(work)
    assert mixes.magnitude(0) == 0
    assert mixes.magnitude(len(mixes) - 1) < -9  # of an error of 0, in bounds


def test_layers_without_an_error_are_in_fp16_only_where_all_are() -> None:
    mixes = frontier({"a": 0.0, "b": 0.5, "c": 0.0}, {"a": 0.2, "b": 0.3, "c": 0.5})
    assert [mixes.mix(index) for index in range(len(mixes))] == [set(), {"b"}, {"a", "b", "c"}]
    assert mixes.costs == pytest.approx([0, 0.3 + OVERHEAD, 1 + 3 * OVERHEAD])
    clean = frontier({"a": 0.0}, {"a": 1.0})
    assert [clean.mix(index) for index in range(len(clean))] == [set(), {"a"}]
