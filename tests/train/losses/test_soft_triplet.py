import math

import pytest
import torch
from torch import Tensor

from reid.train.losses import SoftMarginTripletLoss


def test_it_is_the_formula(embedding: Tensor, vehicle: Tensor) -> None:
    rows, ids, total = embedding.double().tolist(), vehicle.tolist(), 0.0
    for i, query in enumerate(rows):
        positives = [math.dist(query, rows[j]) for j in range(len(rows)) if ids[j] == ids[i] and j != i]
        negatives = [math.dist(query, rows[j]) for j in range(len(rows)) if ids[j] != ids[i]]
        if positives and negatives:
            total += math.log(1 + math.exp(max(positives) - min(negatives)))
    assert SoftMarginTripletLoss()(embedding, vehicle).item() == pytest.approx(total / len(rows), rel=1e-5)


def test_it_pulls_where_a_margin_is_satisfied_and_its_gradient_is_finite(embedding: Tensor, vehicle: Tensor) -> None:
    SoftMarginTripletLoss()(embedding, vehicle).backward()
    assert embedding.grad is not None
    assert embedding.grad.isfinite().all()
    content = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0], [-0.8, -0.6]], requires_grad=True)
    SoftMarginTripletLoss()(content, torch.tensor([0, 0, 1, 1])).backward()
    assert content.grad is not None
    assert content.grad.norm() > 0.01
