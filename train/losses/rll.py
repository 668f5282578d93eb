"""RLL, the ranked list loss: every violating pair of the batch takes part."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from reid.train.losses.boundary import check_boundary
from reid.train.losses.distance import pair_masks, pairwise_distance

__all__ = ["RankedListLoss"]


class RankedListLoss(nn.Module):
    """All positives are to be within ``alpha - margin``, all negatives beyond ``alpha``.

    The loss is ``mean_i (1 - balance) * L_P + balance * L_N``, where for the query i

    - ``L_P`` is the mean of ``d_ip - (alpha - margin)`` over the positives p where that is above 0;
    - ``L_N`` is the mean of ``alpha - d_in`` over the negatives n where that is above 0, weighted by
      ``exp(temperature * (alpha - d_in))``; no gradient flows through the weights.

    Every sample of the batch is a query once; an empty set contributes 0. From Wang et al., *Ranked List Loss
    for Deep Metric Learning*, CVPR 2019.

    Args:
        alpha: the distance that negatives are pushed beyond.
        margin: between the boundary of the positives and that of the negatives.
        temperature: of the negatives' weights, T_n in the paper; 0 weighs them alike.
        balance: weight of the negatives, lambda in the paper.

    Raises:
        ValueError: unless alpha > 0, 0 <= margin <= alpha, temperature >= 0, 0 <= balance <= 1.
    """

    def __init__(
        self, alpha: float = 1.2, margin: float = 0.4, temperature: float = 10.0, balance: float = 0.5
    ) -> None:
        super().__init__()
        check_boundary(alpha, margin, balance)
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature is {temperature}: it must be finite, and 0 or more")
        self.alpha = alpha
        self.margin = margin
        self.temperature = temperature
        self.balance = balance

    def forward(self, embedding: Tensor, vehicle: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            embedding: any floating dtype [B, D], rows of unit length.
            vehicle: int64 [B].

        Returns:
            float32 scalar.
        """
        return self.of_pairs(pairwise_distance(embedding), *pair_masks(vehicle))

    def of_pairs(self, distance: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Loss of queries whose lists are given.

        Args:
            distance: float32 [Q, M], of each query to each member of its list.
            positive: bool [Q, M], same vehicle.
            negative: bool [Q, M], different vehicles.

        Returns:
            float32 scalar.
        """
        positive_hinge = relu(distance - (self.alpha - self.margin)).masked_fill(~positive, 0)
        negative_hinge = relu(self.alpha - distance).masked_fill(~negative, 0)
        positive_loss = _violation_mean(positive_hinge, temperature=0.0).mean()
        negative_loss = _violation_mean(negative_hinge, self.temperature).mean()
        return (1 - self.balance) * positive_loss + self.balance * negative_loss


def _violation_mean(hinge: Tensor, temperature: float) -> Tensor:
    """Mean over each row's entries above 0, weighted by exp(temperature * entry); 0 for a row that has none.

    float32 [Q, M] -> float32 [Q].
    """
    # A softmax gives these weights without their overflow. The mask is the lowest finite number: -inf would
    # make a row without violations NaN, where this weighs its entries, all of them 0, alike.
    score = (temperature * hinge).masked_fill(hinge == 0, torch.finfo(hinge.dtype).min)
    weight = score.softmax(dim=1).detach()
    return (weight * hinge).sum(dim=1)
