"""SSL: the two hinges of the ranked list loss on one positive and one negative per query."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from reid.train.losses.boundary import check_boundary
from reid.train.losses.distance import hardest_pairs

__all__ = ["SSLLoss"]


class SSLLoss(nn.Module):
    """Pull the farthest positive within ``alpha - margin``, and push the nearest negative beyond ``alpha``.

    The loss is ``mean_i (1 - balance) * l_p + balance * l_n``, where for the query i

    - ``l_p = max(max_p d_ip - (alpha - margin), 0)`` over its positives p;
    - ``l_n = max(alpha - min_n d_in, 0)`` over its negatives n.

    The baseline called SSL in Kamenou, Martinez del Rincon, Miller and Devlin-Hill, *Multi-level Deep
    Learning Vehicle Re-identification using Ranked-based Loss Functions*. It has one positive and one
    negative per query, and the poster does not say which: we take the hardest of each. Every sample of the batch is
    the query once; a hinge without a pair contributes 0.

    Args:
        alpha: the distance that negatives are pushed beyond.
        margin: distance between the boundary of the positives and that of the negatives.
        balance: weight of the negatives, lambda in the paper.

    Raises:
        ValueError: unless alpha > 0, 0 <= margin <= alpha, 0 <= balance <= 1.
    """

    def __init__(self, alpha: float = 1.2, margin: float = 0.4, balance: float = 0.5) -> None:
        super().__init__()
        check_boundary(alpha, margin, balance)
        self.alpha = alpha
        self.margin = margin
        self.balance = balance

    def forward(self, embedding: Tensor, vehicle: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            embedding: the embeddings, any floating dtype [B, D], rows of unit length.
            vehicle: the vehicle of each sample, int64 [B].

        Returns:
            float32 scalar.
        """
        farthest_positive, nearest_negative = hardest_pairs(embedding, vehicle)
        positive_loss = relu(farthest_positive - (self.alpha - self.margin)).mean()
        negative_loss = relu(self.alpha - nearest_negative).mean()
        return (1 - self.balance) * positive_loss + self.balance * negative_loss
