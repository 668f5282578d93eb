"""The loss that is trained: a metric loss and an identity loss on every level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["MultiLevelLoss"]


class MultiLevelLoss(nn.Module):
    """``sum_level metric_weight * metric + identity_weight * identity``, each level on its own.

    From Kamenou, Martinez del Rincon, Miller and Devlin-Hill, *Multi-level Deep Learning Vehicle
    Re-identification using Ranked-based Loss Functions*.

    Args:
        metric: (embedding [B, d], vehicle int64 [B]) -> scalar.
        identity: (logits [B, C], vehicle int64 [B]) -> scalar.
        levels: the levels' names, in the order in which ``forward`` is given them.
        metric_weight: w1 in the paper.
        identity_weight: w2 in the paper.

    Raises:
        ValueError: no level, a name twice, or a weight that is negative or not finite.
    """

    def __init__(
        self,
        metric: nn.Module,
        identity: nn.Module,
        levels: Sequence[str],
        *,
        metric_weight: float = 1.0,
        identity_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not levels or len(set(levels)) < len(levels):
            raise ValueError(f"levels are {list(levels)}: there must be at least one, and no name twice")
        for name, weight in (("metric_weight", metric_weight), ("identity_weight", identity_weight)):
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} is {weight}: it must be finite, and 0 or more")
        self.metric = metric
        self.identity = identity
        self.levels = tuple(levels)
        self.metric_weight = metric_weight
        self.identity_weight = identity_weight

    def forward(
        self, embeddings: Sequence[Tensor], logits: Sequence[Tensor], vehicle: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch, and what it is made of.

        Args:
            embeddings: a level each, any floating dtype [B, d_level].
            logits: a level each, any floating dtype [B, C].
            vehicle: int64 [B], in 0..C-1.

        Returns:
            total: float32 scalar, to be minimised.
            parts: ``{"<level>/metric": .., "<level>/identity": ..}``, detached float32 scalars, unweighted.

        Raises:
            ValueError: not as many embeddings or logits as levels.
        """
        terms, parts = [], {}
        for level, embedding, logit in zip(self.levels, embeddings, logits, strict=True):
            metric = self.metric(embedding, vehicle)
            identity = self.identity(logit, vehicle)
            terms.append(self.metric_weight * metric + self.identity_weight * identity)
            parts[f"{level}/metric"] = metric.detach()
            parts[f"{level}/identity"] = identity.detach()
        return torch.stack(terms).sum(), parts
