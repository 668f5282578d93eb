import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from reid.train.losses import TripletLoss


def naive(rows: Sequence[Sequence[float]], vehicle: Sequence[int], margin: float) -> float:
    total = 0.0
    for i, query in enumerate(rows):
        positives = [math.dist(query, rows[j]) for j in range(len(rows)) if vehicle[j] == vehicle[i] and j != i]
        negatives = [math.dist(query, rows[j]) for j in range(len(rows)) if vehicle[j] != vehicle[i]]
        if positives and negatives:
            total += max(max(positives) - min(negatives) + margin, 0)
    return total / len(rows)


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0])
def test_it_is_the_formula(embedding: Tensor, vehicle: Tensor, margin: float) -> None:
    expected = naive(embedding.double().tolist(), vehicle.tolist(), margin)
    assert TripletLoss(margin)(embedding, vehicle).item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_it_is_the_formula_with_ties(data: st.DataObject) -> None:
    vehicle = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=8))
    row = st.lists(st.integers(-4, 4), min_size=2, max_size=2)
    embedding = torch.tensor(data.draw(st.lists(row, min_size=len(vehicle), max_size=len(vehicle)))) / 4
    expected = naive(embedding.tolist(), vehicle, 0.3)
    value = TripletLoss()(embedding, torch.tensor(vehicle))
    assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32], ids=str)
def test_its_gradient_is_that_of_the_formula(embedding: Tensor, vehicle: Tensor, slope: Callable) -> None:
    TripletLoss()(embedding, vehicle).backward()
    point = embedding.detach().double().numpy()
    expected = slope(lambda rows: naive(rows, vehicle.tolist(), 0.3), point)
    np.testing.assert_allclose(embedding.grad.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32], ids=str)
def test_it_agrees_with_pytorch_metric_learning(embedding: Tensor, vehicle: Tensor) -> None:
    """Compare the sum over the triplets, where the miner finds any.

    The definitions differ in the mean: PML divides by the triplets that its miner finds (by default, by those
    of them above 0), we by all samples. They meet where each has a positive and a negative.
    """
    triplets = BatchHardMiner()(embedding, vehicle)
    if len(triplets[0]) == 0:
        assert TripletLoss()(embedding, vehicle).item() == 0
        return
    peer = TripletMarginLoss(margin=0.3, reducer=MeanReducer())(embedding, vehicle, triplets)
    torch.testing.assert_close(TripletLoss()(embedding, vehicle) * len(vehicle), peer * len(triplets[0]))


@pytest.mark.parametrize("margin", [-0.1, math.nan, math.inf])
def test_an_impossible_margin_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=f"margin is {margin}: "):
        TripletLoss(margin)
