"""The identity losses on cosines."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from pytorch_metric_learning import losses as peers
from torch import Tensor, nn
from torch.nn.functional import normalize

from reid.runtime.model_card import Level
from reid.train.losses import ArcFaceLoss, CircleLoss, CosFaceLoss
from reid.train.model.multi_level import IdentityClassifiers

VEHICLE = torch.tensor([0, 3, 3, 1, 2, 0])


@pytest.fixture
def cosine(dtype: torch.dtype) -> Tensor:
    return (2 * torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) - 1).to(dtype).requires_grad_()


def cross_entropy(logits: list[list[float]], smoothing: float) -> float:
    total = 0.0
    for row, own in zip(logits, VEHICLE.tolist(), strict=True):
        log_sum = max(row) + math.log(sum(math.exp(value - max(row)) for value in row))
        for index, value in enumerate(row):
            target = (1 - smoothing) * (index == own) + smoothing / len(row)
            total += target * (log_sum - value)
    return total / len(logits)


def cosface_logits(rows: list[list[float]], scale: float, margin: float) -> list[list[float]]:
    return [
        [scale * (value - margin * (index == own)) for index, value in enumerate(row)]
        for row, own in zip(rows, VEHICLE.tolist(), strict=True)
    ]


def arcface_logits(rows: list[list[float]], scale: float, margin: float) -> list[list[float]]:
    logits = [[scale * value for value in row] for row in rows]
    for row, logit, own in zip(rows, logits, VEHICLE.tolist(), strict=True):
        angle = math.acos(row[own])
        beyond = angle + margin >= math.pi
        logit[own] = scale * (row[own] - margin * math.sin(margin) if beyond else math.cos(angle + margin))
    return logits


def circle_logits(rows: list[list[float]], fixed: list[list[float]], scale: float, margin: float) -> list[list[float]]:
    """The loss with the weights of `fixed`, as the gradient sees it."""
    logits = []
    for row, fixed_row, own in zip(rows, fixed, VEHICLE.tolist(), strict=True):
        logits.append(
            [
                scale * max(1 + margin - weigh, 0) * (value - (1 - margin))
                if index == own
                else scale * max(weigh + margin, 0) * (value - margin)
                for index, (value, weigh) in enumerate(zip(row, fixed_row, strict=True))
            ]
        )
    return logits


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("scale", "margin"), [(64.0, 0.35), (10.0, 0.0)])
def test_cosface_is_the_formula(cosine: Tensor, smoothing: float, scale: float, margin: float) -> None:
    value = CosFaceLoss(smoothing, scale, margin)(cosine, VEHICLE)
    expected = cross_entropy(cosface_logits(cosine.double().tolist(), scale, margin), smoothing)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("scale", "margin"), [(64.0, 0.5), (10.0, 0.0), (30.0, 2.0)])
def test_arcface_is_the_formula(cosine: Tensor, smoothing: float, scale: float, margin: float) -> None:
    value = ArcFaceLoss(smoothing, scale, margin)(cosine, VEHICLE)
    expected = cross_entropy(arcface_logits(cosine.double().tolist(), scale, margin), smoothing)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("margin", [0.1, 0.5, 2.0])
def test_arcface_falls_with_the_angle_and_has_a_gradient_everywhere(margin: float) -> None:
    """From the opposite of the class to the class itself, at which the angle has no slope in the cosine."""
    own = torch.cat([torch.linspace(-1, 1, 401), torch.tensor([1 - 1e-7, 1 + 1e-7, -1 - 1e-7])])
    losses, slopes = [], []
    for value in own.tolist():
        cosine = torch.tensor([[value, 0.3]], requires_grad=True)
        loss = ArcFaceLoss(scale=5.0, margin=margin)(cosine, torch.tensor([0]))
        loss.backward()
        assert cosine.grad is not None
        losses.append(loss.item())
        slopes.append(cosine.grad[0, 0].item())
    assert all(later < earlier for earlier, later in itertools.pairwise(losses[:401]))
    assert all(math.isfinite(slope) and slope != 0 for slope in slopes)
    assert max(map(abs, slopes)) <= 5 * (1 + 1e4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("scale", "margin"), [(64.0, 0.35), (128.0, 0.25), (10.0, 0.0)])
def test_circle_is_the_formula(cosine: Tensor, smoothing: float, scale: float, margin: float) -> None:
    value = CircleLoss(smoothing, scale, margin)(cosine, VEHICLE)
    rows = cosine.double().tolist()
    expected = cross_entropy(circle_logits(rows, rows, scale, margin), smoothing)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32], ids=str)
def test_no_gradient_flows_through_the_weights_of_circle(cosine: Tensor) -> None:
    CircleLoss(0.1, 5.0, 0.25)(cosine, VEHICLE).backward()
    fixed, step = cosine.double().tolist(), 1e-6
    assert cosine.grad is not None
    for i in range(6):
        for j in range(4):
            values = []
            for nudge in (step, -step):
                rows = [list(row) for row in fixed]
                rows[i][j] += nudge
                values.append(cross_entropy(circle_logits(rows, fixed, 5.0, 0.25), 0.1))
            assert cosine.grad[i, j].item() == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "peer"),
    [
        (CosFaceLoss(), peers.CosFaceLoss(num_classes=4, embedding_size=8, margin=0.35, scale=64)),
        (ArcFaceLoss(), peers.ArcFaceLoss(num_classes=4, embedding_size=8, margin=math.degrees(0.5), scale=64)),
    ],
    ids=["cosface", "arcface"],
)
def test_classifiers_with_a_margin_are_pytorch_metric_learnings(loss: nn.Module, peer: nn.Module) -> None:
    torch.manual_seed(0)
    classifiers = IdentityClassifiers([Level(name="level4", size=8)], 4, cosine=True)
    feature, again = (torch.randn(6, 8, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    with torch.no_grad():
        peer.W.copy_(classifiers.heads[0].weight.T)
    (cosine,) = classifiers([feature])
    value, expected = loss(cosine, VEHICLE), peer(again, VEHICLE)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(feature.grad, again.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("around", [torch.float16, torch.bfloat16], ids=str)
def test_cosines_are_float32_under_autocast(around: torch.dtype) -> None:
    torch.manual_seed(0)
    classifiers = IdentityClassifiers([Level(name="level4", size=8)], 4, cosine=True)
    feature = torch.randn(6, 8).to(around)
    with torch.autocast("cpu", dtype=around):
        (cosine,) = classifiers([feature])
    expected = normalize(feature.double(), dim=1) @ normalize(classifiers.heads[0].weight.double(), dim=1).T
    torch.testing.assert_close(cosine, expected.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("loss", [CosFaceLoss, ArcFaceLoss, CircleLoss])
@pytest.mark.parametrize(
    "setting", [{"scale": 0.0}, {"scale": math.inf}, {"margin": -0.1}, {"margin": math.nan}, {"margin": math.inf}]
)
def test_an_impossible_setting_is_refused(loss: type, setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"scale is .*, margin "):
        loss(**setting)
