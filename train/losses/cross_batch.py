"""RLL that also compares a batch with earlier batches."""

from __future__ import annotations

import math

from torch import Tensor, nn

from reid.train.losses.distance import pairwise_distance
from reid.train.losses.memory import EmbeddingMemory
from reid.train.losses.rll import RankedListLoss

__all__ = ["CrossBatchRankedListLoss"]


class CrossBatchRankedListLoss(nn.Module):
    """``RLL(batch) + weight * RLL(batch, memory)``: the second term takes positives and negatives from the memory.

    Each batch is added to the memory afterwards; no gradient flows into the memory. From Wang et al., *Cross-Batch
    Memory for Embedding Learning*, CVPR 2020.

    Args:
        loss: the loss of a batch.
        memory: the memory of this level's embeddings.
        weight: weight of the comparison with the memory.

    Raises:
        ValueError: the weight is negative or not finite.
    """

    def __init__(self, loss: RankedListLoss, memory: EmbeddingMemory, weight: float = 1.0) -> None:
        super().__init__()
        if not 0 <= weight < math.inf:
            raise ValueError(f"weight is {weight}: it must be finite, and 0 or more")
        self.loss = loss
        self.memory = memory
        self.weight = weight

    def forward(self, embedding: Tensor, vehicle: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            embedding: the embeddings, any floating dtype [B, D], rows of unit length.
            vehicle: the vehicle of each sample, int64 [B], 0 or more.

        Returns:
            float32 scalar.
        """
        distance = pairwise_distance(embedding, self.memory.embedding)
        same = vehicle[:, None] == self.memory.vehicle[None, :]
        filled = self.memory.vehicle != EmbeddingMemory.EMPTY
        across = self.loss.of_pairs(distance, same & filled, ~same & filled)
        value: Tensor = self.loss(embedding, vehicle) + self.weight * across
        self.memory.push(embedding, vehicle)
        return value
