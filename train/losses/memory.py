"""The embeddings of the batches before, which a loss may compare a batch with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["EmbeddingMemory"]


class EmbeddingMemory(nn.Module):
    """The last embeddings that were pushed and their vehicles, oldest first. They are state, and are saved with it.

    Args:
        size: how many, at least 1.
        dimensions: of an embedding.

    Raises:
        ValueError: size less than 1.
    """

    EMPTY = -1
    """Stands for the vehicle of a place that was never filled; its embedding is 0."""

    embedding: Tensor
    vehicle: Tensor

    def __init__(self, size: int, dimensions: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size is {size}: it must be at least 1")
        self.register_buffer("embedding", torch.zeros(size, dimensions))
        self.register_buffer("vehicle", torch.full((size,), self.EMPTY))

    def push(self, embedding: Tensor, vehicle: Tensor) -> None:
        """Remember a batch in the place of the oldest.

        Args:
            embedding: any floating dtype [B, D].
            vehicle: int64 [B].
        """
        size = len(self.vehicle)
        self.embedding = torch.cat([self.embedding, embedding.detach().float()])[-size:].contiguous()
        self.vehicle = torch.cat([self.vehicle, vehicle])[-size:].contiguous()
