"""The training loss: a metric loss and an identity loss on every level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["MultiLevelLoss"]


class MultiLevelLoss(nn.Module):
    """``sum_level level_weight * (metric_weight * metric + identity_weight * identity)``, each level on its own.

    From Kamenou, Martinez del Rincon, Miller and Devlin-Hill, *Multi-level Deep Learning Vehicle
    Re-identification using Ranked-based Loss Functions*.

    Args:
        metric: metric loss, (embedding [B, d], vehicle int64 [B]) -> scalar: one for all levels, or one per level.
        identity: identity loss, (logits [B, C], vehicle int64 [B]) -> scalar.
        levels: names of the levels, in the order in which ``forward`` takes them.
        metric_weight: w1 in the paper.
        identity_weight: w2 in the paper.
        level_weights: one weight per level; 1 for all, as in the paper, if left out.

    Raises:
        ValueError: there is no level, a name occurs twice, a weight is negative or not finite, or there are not as many
            weights or metric losses as levels.
    """

    def __init__(
        self,
        metric: nn.Module | Sequence[nn.Module],
        identity: nn.Module,
        levels: Sequence[str],
        *,
        metric_weight: float = 1.0,
        identity_weight: float = 1.0,
        level_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not levels or len(set(levels)) < len(levels):
            raise ValueError(f"levels are {list(levels)}: give at least one, and no name twice")
        metrics = [metric] * len(levels) if isinstance(metric, nn.Module) else list(metric)
        self.level_weights = [1.0] * len(levels) if level_weights is None else list(level_weights)
        if not len(metrics) == len(self.level_weights) == len(levels):
            raise ValueError(
                f"{len(levels)} levels, {len(metrics)} metric losses and {len(self.level_weights)} level weights: "
                "there must be as many of each"
            )
        weights = {"metric_weight": metric_weight, "identity_weight": identity_weight}
        weights |= {f"level_weights[{index}]": weight for index, weight in enumerate(self.level_weights)}
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} is {weight}: it must be finite, and 0 or more")
        self.metrics = nn.ModuleList(metrics)
        self.identity = identity
        self.levels = tuple(levels)
        self.metric_weight = metric_weight
        self.identity_weight = identity_weight

    def forward(
        self, embeddings: Sequence[Tensor], logits: Sequence[Tensor], vehicle: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch and its parts.

        Args:
            embeddings: embeddings of each level, any floating dtype [B, d_level].
            logits: logits of each level, any floating dtype [B, C].
            vehicle: index of each sample's vehicle, int64 [B], in 0..C-1.

        Returns:
            total: the loss to minimize, float32 scalar.
            parts: ``{"<level>/metric": .., "<level>/identity": ..}``, detached float32 scalars, unweighted.

        Raises:
            ValueError: there are not as many embeddings or logits as levels.
        """
        terms, parts = [], {}
        of_levels = zip(self.levels, self.level_weights, self.metrics, embeddings, logits, strict=True)
        for level, weight, metric_loss, embedding, logit in of_levels:
            metric = metric_loss(embedding, vehicle)
            identity = self.identity(logit, vehicle)
            terms.append(weight * (self.metric_weight * metric + self.identity_weight * identity))
            parts[f"{level}/metric"] = metric.detach()
            parts[f"{level}/identity"] = identity.detach()
        return torch.stack(terms).sum(), parts
