"""The triplet loss with a soft margin, which need not be chosen."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import softplus

from reid.train.losses.distance import hardest_pairs

__all__ = ["SoftMarginTripletLoss"]


class SoftMarginTripletLoss(nn.Module):
    """Batch-hard triplet loss that keeps pulling where a fixed margin would be satisfied.

    ``mean_i log(1 + exp(max_p d_ip - min_n d_in))``, from Hermans, Beyer and Leibe, *In Defense of the Triplet Loss for
    Person Re-Identification*, 2017. Every sample of the batch serves as a query once; one without a positive or
    without a negative contributes 0.
    """

    def forward(self, embedding: Tensor, vehicle: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            embedding: the embeddings, any floating dtype [B, D].
            vehicle: the vehicle of each sample, int64 [B].

        Returns:
            float32 scalar.
        """
        farthest_positive, nearest_negative = hardest_pairs(embedding, vehicle)
        return softplus(farthest_positive - nearest_negative).mean()
