from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid.train.losses import CrossBatchRankedListLoss, EmbeddingMemory, RankedListLoss

ALPHA, MARGIN, TEMPERATURE = 1.2, 0.4, 10.0


def batch(seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(6, 3, generator=random), dim=1).requires_grad_(), torch.randint(
        3, (6,), generator=random
    )


def naive(queries: list[list[float]], ids: list[int], others: list[list[float]], other_ids: list[int]) -> float:
    """RLL of queries whose positives and negatives come from another set."""
    total = 0.0
    for query, own in zip(queries, ids, strict=True):
        distances = [(math.dist(query, other), own == label) for other, label in zip(others, other_ids, strict=True)]
        positive = [d - (ALPHA - MARGIN) for d, same in distances if same and d > ALPHA - MARGIN]
        negative = [ALPHA - d for d, same in distances if not same and d < ALPHA]
        weights = [math.exp(TEMPERATURE * hinge) for hinge in negative]
        total += 0.5 * sum(positive) / max(len(positive), 1)
        total += 0.5 * sum(w * hinge for w, hinge in zip(weights, negative, strict=True)) / (sum(weights) or 1)
    return total / len(queries)


def test_it_adds_the_comparison_with_earlier_batches() -> None:
    """A memory of 10 under batches of 6: it holds the last batch and the younger part of the one before."""
    loss = CrossBatchRankedListLoss(RankedListLoss(), EmbeddingMemory(10, 3), weight=0.7)
    past: list[tuple[list[float], int]] = []
    for seed in range(5):
        embedding, vehicle = batch(seed)
        rows, ids = embedding.double().tolist(), vehicle.tolist()
        held = past[-10:]
        across = naive(rows, ids, [row for row, _ in held], [label for _, label in held])
        expected = RankedListLoss()(embedding, vehicle).item() + 0.7 * across
        assert loss(embedding, vehicle).item() == pytest.approx(expected, rel=1e-5)
        past += zip(rows, ids, strict=True)
    assert across > 0


def test_an_empty_memory_changes_neither_loss_nor_gradient() -> None:
    embedding, vehicle = batch(0)
    (alone,) = torch.autograd.grad(RankedListLoss()(embedding, vehicle), embedding)
    value = CrossBatchRankedListLoss(RankedListLoss(), EmbeddingMemory(8, 3))(embedding, vehicle)
    (gradient,) = torch.autograd.grad(value, embedding)
    assert value.item() == pytest.approx(RankedListLoss()(embedding, vehicle).item())
    torch.testing.assert_close(gradient, alone)


def test_the_gradient_goes_into_the_batch_and_not_into_the_memory() -> None:
    loss = CrossBatchRankedListLoss(RankedListLoss(), EmbeddingMemory(8, 3))
    first, vehicle = batch(1)
    loss(first, vehicle)
    second, vehicle = batch(2)
    loss(second, vehicle).backward()
    assert first.grad is None
    assert second.grad is not None
    assert second.grad.isfinite().all()
    assert not loss.memory.embedding.requires_grad


def test_the_memory_is_part_of_the_state_of_a_resumed_run() -> None:
    whole = CrossBatchRankedListLoss(RankedListLoss(), EmbeddingMemory(10, 3))
    for seed in range(3):
        whole(*batch(seed))
    resumed = CrossBatchRankedListLoss(RankedListLoss(), EmbeddingMemory(10, 3))
    resumed.load_state_dict({key: value.clone() for key, value in whole.state_dict().items()}, strict=True)
    assert torch.equal(resumed(*batch(7)), whole(*batch(7)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_of_a_batch_larger_than_the_memory_the_end_remains(dtype: torch.dtype) -> None:
    memory = EmbeddingMemory(2, 3)
    rows = torch.arange(12).reshape(4, 3).to(dtype)
    memory.push(rows, torch.tensor([4, 5, 6, 7]))
    assert torch.equal(memory.embedding, rows[-2:].float())
    assert memory.vehicle.tolist() == [6, 7]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="size is 0: "):
        EmbeddingMemory(0, 3)
    with pytest.raises(ValueError, match=r"weight is -1\.0: "):
        CrossBatchRankedListLoss(RankedListLoss(), EmbeddingMemory(2, 3), weight=-1.0)
