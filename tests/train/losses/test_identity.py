import math

import pytest
import torch

from reid.train.losses import IdentityLoss


def test_it_is_the_formula_in_float32(dtype: torch.dtype) -> None:
    logits = (3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))).to(dtype).requires_grad_()
    vehicle = torch.tensor([0, 3, 3, 1, 2, 0])
    value = IdentityLoss()(logits, vehicle)
    value.backward()
    chances = [[math.exp(logit) for logit in row] for row in logits.double().tolist()]
    own = [row[i] / sum(row) for row, i in zip(chances, vehicle.tolist(), strict=True)]
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(-sum(map(math.log, own)) / 6, rel=1e-5)
    expected = torch.tensor([[c / sum(row) for c in row] for row in chances])
    expected[range(6), vehicle] -= 1
    torch.testing.assert_close(logits.grad, (expected / 6).to(dtype))


def test_logits_at_the_end_of_half_precision_are_finite() -> None:
    logits = torch.tensor([[60000.0, -60000.0]], dtype=torch.float16, requires_grad=True)
    value = IdentityLoss()(logits, torch.tensor([1]))
    value.backward()
    assert value.item() == pytest.approx(120000, rel=1e-3)
    assert torch.equal(logits.grad, torch.tensor([[1.0, -1.0]], dtype=torch.float16))


@pytest.mark.parametrize("around", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_changes_nothing(around: torch.dtype) -> None:
    logits, vehicle = torch.tensor([[1.0, 2.0, 3.0]], dtype=around), torch.tensor([0])
    with torch.autocast("cpu", dtype=around):
        value = IdentityLoss()(logits, vehicle)
    assert torch.equal(value, IdentityLoss()(logits, vehicle))


def test_with_one_training_vehicle_the_loss_is_zero() -> None:
    assert IdentityLoss()(torch.randn(3, 1), torch.zeros(3, dtype=torch.int64)).item() == 0


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_is_the_formula(smoothing: float) -> None:
    logits, vehicle = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 3, 1, 2, 0])
    total = 0.0
    for row, own in zip(logits.double().tolist(), vehicle.tolist(), strict=True):
        log_sum = math.log(sum(map(math.exp, row)))
        total += sum(
            ((1 - smoothing) * (index == own) + smoothing / 4) * (log_sum - logit) for index, logit in enumerate(row)
        )
    assert IdentityLoss(smoothing)(logits, vehicle).item() == pytest.approx(total / 6, rel=1e-5)
