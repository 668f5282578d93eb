"""Global pooling: from a level's feature map to one vector."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["POOLINGS", "AveragePooling", "GeneralizedMeanPooling", "MaxPooling", "SumOfPoolings"]


class MaxPooling(nn.Module):
    """The largest value of each channel."""

    def forward(self, feature: Tensor) -> Tensor:
        """Pool [N, C, H, W] to [N, C]."""
        return feature.amax(dim=(2, 3))


class AveragePooling(nn.Module):
    """The mean of each channel."""

    def forward(self, feature: Tensor) -> Tensor:
        """Pool [N, C, H, W] to [N, C]."""
        return feature.mean(dim=(2, 3))


class GeneralizedMeanPooling(nn.Module):
    """GeM, ``(mean_x max(x, floor)^p)^(1/p)``: p = 1 is the mean, a large p is close to the maximum; p is learned.

    From Radenovic, Tolias and Chum, *Fine-tuning CNN Image Retrieval with No Human Annotation*, TPAMI 2018.

    Args:
        p: initial value of p.
    """

    # The gradient of a root at 0 is not finite. This is FP16's smallest normal number, the same in every precision.
    FLOOR = 2.0**-14

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))

    def forward(self, feature: Tensor) -> Tensor:
        """Pool [N, C, H, W] of any floating dtype to float32 [N, C], because powers exceed half precision's range."""
        return feature.float().clamp(min=self.FLOOR).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)


class SumOfPoolings(nn.Module):
    """The sum of several poolings.

    Args:
        poolings: the poolings, [N, C, H, W] -> [N, C] each.
    """

    def __init__(self, *poolings: nn.Module) -> None:
        super().__init__()
        self.poolings = nn.ModuleList(poolings)

    def forward(self, feature: Tensor) -> Tensor:
        """Pool [N, C, H, W] to [N, C]."""
        return torch.stack([pooling(feature) for pooling in self.poolings]).sum(dim=0)


POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "max": MaxPooling,
    "avg": AveragePooling,
    "gem": GeneralizedMeanPooling,
    "max+avg": lambda: SumOfPoolings(MaxPooling(), AveragePooling()),
    "max+gem": lambda: SumOfPoolings(MaxPooling(), GeneralizedMeanPooling()),
}
"""The poolings by their names in `Recipe.pooling`."""
