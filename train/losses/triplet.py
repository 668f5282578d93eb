"""The triplet loss on the hardest pairs of a batch."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import relu

from reid.train.losses.distance import hardest_pairs

__all__ = ["TripletLoss"]


class TripletLoss(nn.Module):
    """Batch-hard triplet loss: pull a sample's farthest positive closer than its nearest negative.

    ``mean_i max(max_p d_ip - min_n d_in + margin, 0)``, from Hermans, Beyer and Leibe, *In Defense of the
    Triplet Loss for Person Re-Identification*, 2017. Every sample of the batch serves as a query once; one without a
    positive or without a negative contributes 0.

    Args:
        margin: the distance by which the positive has to be closer, 0 or more.

    Raises:
        ValueError: the margin is negative or not finite.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        if not 0 <= margin < math.inf:
            raise ValueError(f"margin is {margin}: it must be finite, and 0 or more")
        self.margin = margin

    def forward(self, embedding: Tensor, vehicle: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            embedding: the embeddings, any floating dtype [B, D].
            vehicle: the vehicle of each sample, int64 [B].

        Returns:
            float32 scalar.
        """
        farthest_positive, nearest_negative = hardest_pairs(embedding, vehicle)
        return relu(farthest_positive - nearest_negative + self.margin).mean()
