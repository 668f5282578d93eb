import math

import pytest
import torch
from torch import Tensor

from reid.train.losses.distance import hardest_pairs, pair_masks, pairwise_distance


def test_it_is_the_euclidean_distance_in_float32(embedding: Tensor) -> None:
    distance = pairwise_distance(embedding)
    rows = embedding.double().tolist()
    expected = torch.tensor([[math.dist(a, b) for b in rows] for a in rows])
    torch.testing.assert_close(distance, expected, rtol=1e-6, atol=1e-7)


def test_small_distances_of_many_long_rows_survive() -> None:
    rows = torch.full((64, 512), 10.0)
    rows[:, 0] += torch.arange(64) * 1e-3
    expected = (torch.arange(64)[:, None] - torch.arange(64)[None, :]).abs() * 1e-3
    torch.testing.assert_close(pairwise_distance(rows), expected, rtol=0, atol=2e-6)


def test_equal_rows_are_at_0_with_gradient_0(dtype: torch.dtype) -> None:
    embedding = torch.full((4, 8), 0.3, dtype=dtype, requires_grad=True)
    distance = pairwise_distance(embedding)
    distance.sum().backward()
    assert torch.equal(distance, torch.zeros(4, 4))
    assert torch.equal(embedding.grad, torch.zeros_like(embedding))


@pytest.mark.parametrize("around", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_changes_nothing(embedding: Tensor, around: torch.dtype) -> None:
    expected = pairwise_distance(embedding)
    with torch.autocast("cpu", dtype=around):
        distance = pairwise_distance(embedding)
    assert torch.equal(distance, expected)


def test_rows_that_overflow_half_precision_when_squared() -> None:
    rows = torch.tensor([[30000.0], [-30000.0]], dtype=torch.float16)
    expected = torch.tensor([[0.0, 60000.0], [60000.0, 0.0]])
    torch.testing.assert_close(pairwise_distance(rows), expected, rtol=2e-3, atol=0)


def test_masks_are_the_pairs(vehicle: Tensor) -> None:
    positive, negative = pair_masks(vehicle)
    ids = vehicle.tolist()
    assert positive.tolist() == [[a == b and i != j for j, b in enumerate(ids)] for i, a in enumerate(ids)]
    assert negative.tolist() == [[a != b for b in ids] for a in ids]


def test_the_hardest_pairs_are_the_farthest_positive_and_the_nearest_negative(
    embedding: Tensor, vehicle: Tensor
) -> None:
    rows, ids = embedding.double().tolist(), vehicle.tolist()
    pairs = [[(math.dist(a, b), j) for j, b in enumerate(rows)] for a in rows]
    farthest = [
        max((d for d, j in of_query if ids[j] == ids[i] and j != i), default=-math.inf)
        for i, of_query in enumerate(pairs)
    ]
    nearest = [min((d for d, j in of_query if ids[j] != ids[i]), default=math.inf) for i, of_query in enumerate(pairs)]
    expected = torch.tensor(farthest), torch.tensor(nearest)
    torch.testing.assert_close(hardest_pairs(embedding, vehicle), expected, rtol=1e-6, atol=1e-7)
