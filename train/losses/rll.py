"""RLL, the ranked list loss, in which every violating pair of the batch counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from reid.train.losses.boundary import check_boundary
from reid.train.losses.distance import pair_masks, pairwise_distance

__all__ = ["RankedListLoss"]


class RankedListLoss(nn.Module):
    """Pull all positives within ``alpha - margin``, and push all negatives beyond ``alpha``.

    The loss is ``mean_i (1 - balance) * L_P + balance * L_N``, where for the query i

    - ``L_P`` is the mean of ``d_ip - (alpha - margin)`` over the positives p where that is above 0;
    - ``L_N`` is the mean of ``alpha - d_in`` over the negatives n where that is above 0, weighted by
      ``exp(temperature * (alpha - d_in))``; no gradient flows through the weights.

    Every sample of the batch serves as a query once; an empty set contributes 0. From Wang et al., *Ranked List Loss
    for Deep Metric Learning*, CVPR 2019.

    Args:
        alpha: the distance that negatives are pushed beyond.
        margin: distance between the boundary of the positives and that of the negatives.
        temperature: temperature of the negatives' weights, T_n in the paper; 0 weights them equally.
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
        """Return the loss of a batch.

        Args:
            embedding: the embeddings, any floating dtype [B, D], rows of unit length.
            vehicle: the vehicle of each sample, int64 [B].

        Returns:
            float32 scalar.
        """
        return self.of_pairs(pairwise_distance(embedding), *pair_masks(vehicle))

    def of_pairs(self, distance: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the loss of queries with given lists.

        Args:
            distance: distance of each query to each member of its list, float32 [Q, M].
            positive: whether the two show the same vehicle, bool [Q, M].
            negative: whether the two show different vehicles, bool [Q, M].

        Returns:
            float32 scalar.
        """
        positive_hinge = relu(distance - (self.alpha - self.margin)).masked_fill(~positive, 0)
        negative_hinge = relu(self.alpha - distance).masked_fill(~negative, 0)
        positive_loss = _violation_mean(positive_hinge, temperature=0.0).mean()
        negative_loss = _violation_mean(negative_hinge, self.temperature).mean()
        return (1 - self.balance) * positive_loss + self.balance * negative_loss


def _violation_mean(hinge: Tensor, temperature: float) -> Tensor:
    """Return the mean of each row's entries above 0, weighted by exp(temperature * entry); 0 if there are none.

    float32 [Q, M] -> float32 [Q].
    """
    # A softmax computes these weights without overflow. The mask is the lowest finite number: -inf would turn a row
    # without violations into NaN, whereas this weights its entries, all of them 0, equally.
    score = (temperature * hinge).masked_fill(hinge == 0, torch.finfo(hinge.dtype).min)
    weight = score.softmax(dim=1).detach()
    return (weight * hinge).sum(dim=1)
