"""Batches for every loss: the dtypes and the groupings of vehicles that a training step may meet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

BATCHES = {
    "4x3": [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3],
    "uneven and shuffled": [7, 1, 7, 1, 1, 7, 5, 1, 5],
    "one sample of a vehicle": [0, 0, 0, 1, 2, 2],
    "one vehicle": [3, 3, 3, 3],
    "all different": [0, 1, 2, 3],
    "one sample": [0],
}


@pytest.fixture(params=[torch.float32, torch.float16, torch.bfloat16], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture(params=BATCHES.values(), ids=BATCHES.keys())
def vehicle(request: pytest.FixtureRequest) -> Tensor:
    return torch.tensor(request.param)


@pytest.fixture
def embedding(vehicle: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows of unit length, rounded to the dtype, that have pairs on both sides of the boundaries."""
    rows = torch.randn(len(vehicle), 3, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(rows, dim=1).to(dtype).requires_grad_()


@pytest.fixture
def slope() -> Callable[[Callable[[NDArray[np.float64]], float], NDArray[np.float64]], NDArray[np.float64]]:
    """Gradient of a function of an array by central differences."""

    def central_differences(
        function: Callable[[NDArray[np.float64]], float], point: NDArray[np.float64], step: float = 1e-6
    ) -> NDArray[np.float64]:
        gradient = np.empty_like(point)
        for position in np.ndindex(point.shape):
            nudge = np.zeros_like(point)
            nudge[position] = step
            gradient[position] = (function(point + nudge) - function(point - nudge)) / (2 * step)
        return gradient

    return central_differences
