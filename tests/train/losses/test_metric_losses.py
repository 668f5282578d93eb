"""What holds for every metric loss, whatever its formula."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import normalize

from reid.train.losses import METRIC_LOSSES


@pytest.fixture(params=METRIC_LOSSES.values(), ids=METRIC_LOSSES.keys())
def loss(request: pytest.FixtureRequest) -> nn.Module:
    return request.param()


def test_the_names_are_those_of_the_command_line() -> None:
    assert set(METRIC_LOSSES) == {"triplet", "ssl", "rll"}


def test_it_is_a_float32_scalar_with_a_finite_gradient(loss: nn.Module, embedding: Tensor, vehicle: Tensor) -> None:
    value = loss(embedding, vehicle)
    value.backward()
    assert value.dtype == torch.float32
    assert value.shape == ()
    assert value >= 0
    assert embedding.grad.dtype == embedding.dtype
    assert embedding.grad.isfinite().all()


def test_without_a_violation_it_is_0_with_gradient_0(loss: nn.Module, dtype: torch.dtype) -> None:
    embedding = torch.eye(3, dtype=dtype).repeat_interleave(2, dim=0).requires_grad_()
    value = loss(embedding, torch.tensor([0, 0, 1, 1, 2, 2]))
    value.backward()
    assert value.item() == 0
    assert torch.equal(embedding.grad, torch.zeros_like(embedding))


def test_one_sample_is_0_with_gradient_0(loss: nn.Module, dtype: torch.dtype) -> None:
    embedding = torch.tensor([[0.6, 0.8]], dtype=dtype, requires_grad=True)
    value = loss(embedding, torch.tensor([5]))
    value.backward()
    assert value.item() == 0
    assert torch.equal(embedding.grad, torch.zeros_like(embedding))


@pytest.mark.parametrize(("name", "expected"), [("triplet", 0.3), ("ssl", 0.6), ("rll", 0.6)])
def test_equal_embeddings_cost_the_whole_hinge(name: str, expected: float, dtype: torch.dtype) -> None:
    """The margin of the triplet; balance * alpha of the others, whose positives are right, negatives at 0."""
    embedding = torch.full((4, 16), 0.25, dtype=dtype, requires_grad=True)
    value = METRIC_LOSSES[name]()(embedding, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value.item() == pytest.approx(expected)
    assert torch.equal(embedding.grad, torch.zeros_like(embedding))


def test_the_order_and_the_names_of_the_vehicles_do_not_matter(
    loss: nn.Module, embedding: Tensor, vehicle: Tensor
) -> None:
    order = torch.randperm(len(vehicle), generator=torch.Generator().manual_seed(1))
    shuffled = loss(embedding[order], 100 - 3 * vehicle[order])
    torch.testing.assert_close(shuffled, loss(embedding, vehicle))


@pytest.mark.parametrize("around", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_changes_the_embedding_and_not_the_loss(loss: nn.Module, around: torch.dtype) -> None:
    torch.manual_seed(0)
    head, features, vehicle = nn.Linear(16, 8), torch.randn(12, 16), torch.arange(12) // 3
    with torch.autocast("cpu", dtype=around):
        half = head(features)
        embedding = normalize(half, dim=1)
        value = loss(embedding, vehicle)
    value.backward()
    assert half.dtype == around
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(embedding, vehicle))
    assert 0 < head.weight.grad.norm() < torch.inf


@pytest.mark.parametrize("name", METRIC_LOSSES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_ties_leave_a_finite_gradient_that_moves_no_mean(name: str, data: st.DataObject) -> None:
    """Only distances count, so the rows of the gradient add up to 0 even where rows coincide."""
    vehicle = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=8)))
    row = st.lists(st.integers(-1, 1), min_size=2, max_size=2)
    rows = data.draw(st.lists(row, min_size=len(vehicle), max_size=len(vehicle)))
    embedding = (torch.tensor(rows) / 2).requires_grad_()
    METRIC_LOSSES[name]()(embedding, vehicle).backward()
    torch.testing.assert_close(embedding.grad.sum(dim=0), torch.zeros(2), rtol=0, atol=1e-6)
