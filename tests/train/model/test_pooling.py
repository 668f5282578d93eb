from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from reid.train.model.pooling import POOLINGS, GeneralizedMeanPooling


@pytest.fixture
def feature() -> torch.Tensor:
    return torch.rand(3, 5, 4, 6, generator=torch.Generator().manual_seed(0)) * 8


@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling_is_its_formula(name: str, feature: torch.Tensor) -> None:
    values = feature.double().numpy().reshape(3, 5, -1)
    parts = {"max": values.max(axis=2), "avg": values.mean(axis=2), "gem": np.cbrt((values**3).mean(axis=2))}
    expected = sum(parts[part] for part in name.split("+"))
    np.testing.assert_allclose(POOLINGS[name]()(feature).detach().numpy(), expected, rtol=1e-5)


def test_gem_goes_from_the_mean_to_the_maximum_as_p_grows(feature: torch.Tensor) -> None:
    mean, largest = feature.mean(dim=(2, 3)), feature.amax(dim=(2, 3))
    torch.testing.assert_close(GeneralizedMeanPooling(1.0)(feature), mean)
    pooled = [GeneralizedMeanPooling(p)(feature) for p in (1.0, 3.0, 10.0, 30.0)]
    assert all((one < other).all() for one, other in itertools.pairwise(pooled))
    torch.testing.assert_close(pooled[-1], largest, rtol=0.15, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_gem_is_finite_with_a_finite_gradient_where_a_map_is_0_negative_or_large(dtype: torch.dtype) -> None:
    feature = torch.tensor([0.0, -3.0, 300.0], dtype=dtype)[None, :, None, None].repeat(2, 1, 4, 4).requires_grad_()
    pooling = GeneralizedMeanPooling()
    pooled = pooling(feature)
    pooled.sum().backward()
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled[0], torch.tensor([pooling.FLOOR, pooling.FLOOR, 300.0]))
    assert feature.grad is not None
    assert pooling.p.grad is not None
    assert feature.grad.isfinite().all()
    assert pooling.p.grad.isfinite()


def test_gem_learns_p(feature: torch.Tensor) -> None:
    """Compare its gradient with finite differences."""
    pooling = GeneralizedMeanPooling()
    pooling(feature.double()).sum().backward()
    values, step = feature.double().numpy(), 1e-5
    above, below = (((values**p).mean(axis=(2, 3)) ** (1 / p)).sum() for p in (3 + step, 3 - step))
    assert pooling.p.grad is not None
    assert pooling.p.grad.item() == pytest.approx((above - below) / (2 * step), rel=1e-3)
