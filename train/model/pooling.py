"""From a level's map to one vector: what is taken over all places."""

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
    """GeM, ``(mean_x max(x, floor)^p)^(1/p)``: p = 1 is the mean, a large p nearly the maximum; p is learned.

    From Radenovic, Tolias and Chum, *Fine-tuning CNN Image Retrieval with No Human Annotation*, TPAMI 2018.

    Args:
        p: to start from.
    """

    # 0 has no finite gradient under a root. This is FP16's smallest normal number, which no precision changes.
    FLOOR = 2.0**-14

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))

    def forward(self, feature: Tensor) -> Tensor:
        """Pool [N, C, H, W] of any floating dtype to float32 [N, C]: powers leave half precision's range."""
        return feature.float().clamp(min=self.FLOOR).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)


class SumOfPoolings(nn.Module):
    """The sum of what several poolings give.

    Args:
        poolings: [N, C, H, W] -> [N, C] each.
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
"""The poolings by the name that `Recipe.pooling` takes."""
