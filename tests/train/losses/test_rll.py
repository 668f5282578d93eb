import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from pytorch_metric_learning import losses as peers
from torch import Tensor

from reid.train.losses import RankedListLoss

SETTINGS = [
    (1.2, 0.4, 10.0, 0.5),
    (1.4, 0.2, 10.0, 0.5),
    (1.2, 0.4, 0.0, 0.25),
    (1.2, 0.0, 1.0, 0.0),
    (1.2, 0.4, 30.0, 1.0),
]


def violating_negatives(rows: ArrayLike, vehicle: Sequence[int], alpha: float) -> Iterator[tuple[int, int, float]]:
    """(query, negative, hinge)."""
    for i, query in enumerate(rows):
        for j, other in enumerate(rows):
            if vehicle[j] != vehicle[i] and math.dist(query, other) < alpha:
                yield i, j, alpha - math.dist(query, other)


def naive_weights(
    rows: ArrayLike, vehicle: Sequence[int], alpha: float, temperature: float
) -> dict[tuple[int, int], float]:
    """Weights of each query's violating negatives, which add up to 1."""
    weights = {(i, j): math.exp(temperature * l_n) for i, j, l_n in violating_negatives(rows, vehicle, alpha)}
    return {
        (i, j): weight / sum(other for (query, _), other in weights.items() if query == i)
        for (i, j), weight in weights.items()
    }


def naive(
    rows: ArrayLike,
    vehicle: Sequence[int],
    alpha: float,
    margin: float,
    balance: float,
    weights: dict[tuple[int, int], float],
) -> float:
    """The loss with fixed weights, as the gradient sees it."""
    negative_loss = sum(weights[i, j] * l_n for i, j, l_n in violating_negatives(rows, vehicle, alpha))
    positive_loss = 0.0
    for i, query in enumerate(rows):
        positives = [math.dist(query, rows[j]) for j in range(len(rows)) if vehicle[j] == vehicle[i] and j != i]
        violating = [d - (alpha - margin) for d in positives if d > alpha - margin]
        if violating:
            positive_loss += sum(violating) / len(violating)
    return ((1 - balance) * positive_loss + balance * negative_loss) / len(rows)


@pytest.mark.parametrize(("alpha", "margin", "temperature", "balance"), SETTINGS)
def test_it_is_the_formula(
    embedding: Tensor, vehicle: Tensor, alpha: float, margin: float, temperature: float, balance: float
) -> None:
    rows, ids = embedding.double().tolist(), vehicle.tolist()
    expected = naive(rows, ids, alpha, margin, balance, naive_weights(rows, ids, alpha, temperature))
    value = RankedListLoss(alpha, margin, temperature, balance)(embedding, vehicle)
    assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_it_is_the_formula_with_ties(data: st.DataObject) -> None:
    """Use a grid without two points exactly at a boundary, where rounding would decide."""
    vehicle = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=8))
    row = st.lists(st.integers(-4, 4), min_size=2, max_size=2)
    embedding = torch.tensor(data.draw(st.lists(row, min_size=len(vehicle), max_size=len(vehicle)))) / 4
    rows = embedding.tolist()
    expected = naive(rows, vehicle, 1.2, 0.4, 0.5, naive_weights(rows, vehicle, 1.2, 10.0))
    value = RankedListLoss()(embedding, torch.tensor(vehicle))
    assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32], ids=str)
def test_no_gradient_flows_through_the_weights(embedding: Tensor, vehicle: Tensor, slope: Callable) -> None:
    RankedListLoss()(embedding, vehicle).backward()
    point, ids = embedding.detach().double().numpy(), vehicle.tolist()
    weights = naive_weights(point, ids, 1.2, 10.0)
    frozen = partial(naive, vehicle=ids, alpha=1.2, margin=0.4, balance=0.5, weights=weights)
    np.testing.assert_allclose(embedding.grad.numpy(), slope(frozen, point), atol=1e-5)


def test_the_weights_do_not_overflow() -> None:
    """exp(1000) is infinite even in float64; the closest negative has all the weight."""
    embedding = torch.tensor([[0.0], [0.25], [0.5]], dtype=torch.float16, requires_grad=True)
    value = RankedListLoss(temperature=1000.0)(embedding, torch.tensor([0, 1, 2]))
    value.backward()
    assert value.item() == pytest.approx(0.5 * (1.2 - 0.25))
    assert embedding.grad.isfinite().all()


@pytest.mark.filterwarnings("ignore:Values of Tp or Tn are too high")
@pytest.mark.parametrize("dtype", [torch.float32], ids=str)
@pytest.mark.parametrize("temperature", [0.0, 4.0, 10.0])
def test_its_value_is_that_of_pytorch_metric_learning(embedding: Tensor, vehicle: Tensor, temperature: float) -> None:
    """With Tp = 0 and rows of unit length: PML normalizes them itself, we take them as they are.

    PML divides by the sum of the weights plus 1e-5 for each sample of the batch, which makes it smaller by
    a part of 1e-5 * B at most, as no weight is below 1. It leaves out negatives at a distance of exactly 0,
    which cost us the most; here are none.
    """
    peer = peers.RankedListLoss(margin=0.4, Tn=temperature, imbalance=0.5, alpha=1.2, Tp=0)
    value = RankedListLoss(temperature=temperature)(embedding, vehicle)
    torch.testing.assert_close(value, peer(embedding, vehicle), rtol=1.01e-5 * len(vehicle), atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32], ids=str)
def test_its_gradient_is_that_of_pytorch_metric_learning_at_temperature_0(embedding: Tensor, vehicle: Tensor) -> None:
    """Where all weights are 1; above that, PML differentiates the weights too, and we do not.

    PML's gradient goes through its own normalization, which takes away the part along the row: so do we here.
    """
    peer = peers.RankedListLoss(margin=0.4, Tn=0, imbalance=0.5, alpha=1.2, Tp=0)
    (expected,) = torch.autograd.grad(peer(embedding, vehicle), embedding)
    (gradient,) = torch.autograd.grad(RankedListLoss(temperature=0.0)(embedding, vehicle), embedding)
    tangent = gradient - (gradient * embedding).sum(dim=1, keepdim=True) * embedding
    torch.testing.assert_close(tangent, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"alpha": -1.0}, "alpha is -1.0: "),
        ({"margin": 1.3}, "margin is 1.3: .* 1.2"),
        ({"temperature": -1.0}, "temperature is -1.0: "),
        ({"temperature": math.inf}, "temperature is inf: "),
        ({"balance": -0.1}, "balance is -0.1: "),
    ],
)
def test_an_impossible_setting_is_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RankedListLoss(**setting)
