import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid.train.losses import IdentityLoss, MultiLevelLoss, RankedListLoss, TripletLoss

LEVELS = ("layer2", "layer3", "layer4")
VEHICLE = torch.tensor([0, 0, 1, 1])


@pytest.fixture
def embeddings() -> list[Tensor]:
    torch.manual_seed(0)
    return [normalize(torch.randn(4, size), dim=1).requires_grad_() for size in (3, 5, 8)]


@pytest.fixture
def logits() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(4, 2, requires_grad=True) for _ in LEVELS]


def test_it_is_the_weighted_sum_over_the_levels(embeddings: list[Tensor], logits: list[Tensor]) -> None:
    loss = MultiLevelLoss(RankedListLoss(), IdentityLoss(), LEVELS, metric_weight=0.4, identity_weight=3.0)
    total, _ = loss(embeddings, logits, VEHICLE)
    expected = sum(
        0.4 * RankedListLoss()(embedding, VEHICLE).item() + 3.0 * IdentityLoss()(logit, VEHICLE).item()
        for embedding, logit in zip(embeddings, logits, strict=True)
    )
    assert total.shape == ()
    assert total.item() == pytest.approx(expected)


def test_its_parts_are_named_unweighted_and_detached(embeddings: list[Tensor], logits: list[Tensor]) -> None:
    loss = MultiLevelLoss(RankedListLoss(), IdentityLoss(), LEVELS, metric_weight=0.4, identity_weight=3.0)
    _, parts = loss(embeddings, logits, VEHICLE)
    assert list(parts) == [f"{level}/{part}" for level in LEVELS for part in ("metric", "identity")]
    assert not any(part.requires_grad for part in parts.values())
    for level, embedding, logit in zip(LEVELS, embeddings, logits, strict=True):
        assert torch.equal(parts[f"{level}/metric"], RankedListLoss()(embedding, VEHICLE).detach())
        assert torch.equal(parts[f"{level}/identity"], IdentityLoss()(logit, VEHICLE).detach())


def test_each_level_learns_from_its_own_loss_alone(embeddings: list[Tensor], logits: list[Tensor]) -> None:
    total, _ = MultiLevelLoss(RankedListLoss(), IdentityLoss(), LEVELS)(embeddings, logits, VEHICLE)
    total.backward()
    for embedding, logit in zip(embeddings, logits, strict=True):
        alone = torch.autograd.grad(RankedListLoss()(embedding, VEHICLE), embedding)[0]
        torch.testing.assert_close(embedding.grad, alone)
        alone = torch.autograd.grad(IdentityLoss()(logit, VEHICLE), logit)[0]
        torch.testing.assert_close(logit.grad, alone)


def test_a_weight_of_0_switches_its_loss_off(embeddings: list[Tensor], logits: list[Tensor]) -> None:
    loss = MultiLevelLoss(RankedListLoss(), IdentityLoss(), LEVELS, metric_weight=0.0)
    total, parts = loss(embeddings, logits, VEHICLE)
    assert total.item() == pytest.approx(sum(parts[f"{level}/identity"].item() for level in LEVELS))


def test_levels_may_weigh_differently(embeddings: list[Tensor], logits: list[Tensor]) -> None:
    total, parts = MultiLevelLoss(RankedListLoss(), IdentityLoss(), LEVELS, level_weights=[0.5, 0.0, 2.0])(
        embeddings, logits, VEHICLE
    )
    one, three = ("layer2", 0.5), ("layer4", 2.0)
    expected = sum(
        weight * (parts[f"{name}/metric"] + parts[f"{name}/identity"]).item() for name, weight in (one, three)
    )
    assert total.item() == pytest.approx(expected)


def test_each_level_may_have_a_metric_loss_of_its_own(embeddings: list[Tensor], logits: list[Tensor]) -> None:
    metrics = [RankedListLoss(), TripletLoss(0.7), RankedListLoss(1.4, 0.2)]
    _, parts = MultiLevelLoss(metrics, IdentityLoss(), LEVELS)(embeddings, logits, VEHICLE)
    for level, metric, embedding in zip(LEVELS, metrics, embeddings, strict=True):
        assert torch.equal(parts[f"{level}/metric"], metric(embedding, VEHICLE).detach())


@pytest.mark.parametrize("wrong", [{"level_weights": [1.0, 1.0]}, {"metric": [RankedListLoss()]}])
def test_other_than_one_per_level_is_refused(wrong: dict[str, list]) -> None:
    with pytest.raises(ValueError, match="3 levels, "):
        MultiLevelLoss(**{"metric": RankedListLoss(), "identity": IdentityLoss(), "levels": LEVELS, **wrong})


@pytest.mark.parametrize("missing", ["embeddings", "logits"])
def test_a_level_that_is_missing_is_refused(embeddings: list[Tensor], logits: list[Tensor], missing: str) -> None:
    {"embeddings": embeddings, "logits": logits}[missing].pop()
    with pytest.raises(ValueError, match="zip"):
        MultiLevelLoss(RankedListLoss(), IdentityLoss(), LEVELS)(embeddings, logits, VEHICLE)


@pytest.mark.parametrize("levels", [(), ("layer2", "layer2")])
def test_levels_without_distinct_names_are_refused(levels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="levels are "):
        MultiLevelLoss(RankedListLoss(), IdentityLoss(), levels)


@pytest.mark.parametrize("name", ["metric_weight", "identity_weight"])
@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_an_impossible_weight_is_refused(name: str, weight: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {weight}: "):
        MultiLevelLoss(RankedListLoss(), IdentityLoss(), LEVELS, **{name: weight})
