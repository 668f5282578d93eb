import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reid.train.losses import SSLLoss

SETTINGS = [(1.2, 0.4, 0.5), (1.4, 0.2, 0.5), (1.0, 1.0, 0.25), (1.2, 0.0, 0.0), (1.2, 0.4, 1.0)]


def naive(
    rows: Sequence[Sequence[float]], vehicle: Sequence[int], alpha: float, margin: float, balance: float
) -> float:
    total = 0.0
    for i, query in enumerate(rows):
        positives = [math.dist(query, rows[j]) for j in range(len(rows)) if vehicle[j] == vehicle[i] and j != i]
        negatives = [math.dist(query, rows[j]) for j in range(len(rows)) if vehicle[j] != vehicle[i]]
        if positives:
            total += (1 - balance) * max(max(positives) - (alpha - margin), 0)
        if negatives:
            total += balance * max(alpha - min(negatives), 0)
    return total / len(rows)


@pytest.mark.parametrize("setting", SETTINGS)
def test_it_is_the_formula(embedding: Tensor, vehicle: Tensor, setting: tuple[float, float, float]) -> None:
    expected = naive(embedding.double().tolist(), vehicle.tolist(), *setting)
    assert SSLLoss(*setting)(embedding, vehicle).item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_it_is_the_formula_with_ties(data: st.DataObject) -> None:
    vehicle = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=8))
    row = st.lists(st.integers(-4, 4), min_size=2, max_size=2)
    embedding = torch.tensor(data.draw(st.lists(row, min_size=len(vehicle), max_size=len(vehicle)))) / 4
    expected = naive(embedding.tolist(), vehicle, 1.2, 0.4, 0.5)
    value = SSLLoss()(embedding, torch.tensor(vehicle))
    assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32], ids=str)
def test_its_gradient_is_that_of_the_formula(embedding: Tensor, vehicle: Tensor, slope: Callable) -> None:
    SSLLoss()(embedding, vehicle).backward()
    point = embedding.detach().double().numpy()
    expected = slope(lambda rows: naive(rows, vehicle.tolist(), 1.2, 0.4, 0.5), point)
    np.testing.assert_allclose(embedding.grad.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0: "),
        ({"alpha": math.inf}, "alpha is inf: "),
        ({"margin": -0.1}, "margin is -0.1: "),
        ({"margin": 1.3}, "margin is 1.3: .* 1.2"),
        ({"balance": 1.1}, "balance is 1.1: "),
        ({"balance": math.nan}, "balance is nan: "),
    ],
)
def test_an_impossible_setting_is_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SSLLoss(**setting)
