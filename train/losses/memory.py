"""Embeddings of earlier batches, with which a loss may compare a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["EmbeddingMemory"]


class EmbeddingMemory(nn.Module):
    """The embeddings that were pushed last and their vehicles, oldest first. They are part of the state dict.

    Args:
        size: number of embeddings, 1 or more.
        dimensions: size of an embedding.

    Raises:
        ValueError: the size is less than 1.
    """

    EMPTY = -1
    """The vehicle of an entry that was never filled; its embedding is 0."""

    embedding: Tensor
    vehicle: Tensor

    def __init__(self, size: int, dimensions: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size is {size}: it must be 1 or more")
        self.register_buffer("embedding", torch.zeros(size, dimensions))
        self.register_buffer("vehicle", torch.full((size,), self.EMPTY))

    def push(self, embedding: Tensor, vehicle: Tensor) -> None:
        """Add a batch in place of the oldest embeddings.

        Args:
            embedding: the embeddings, any floating dtype [B, D].
            vehicle: the vehicle of each sample, int64 [B].
        """
        size = len(self.vehicle)
        self.embedding = torch.cat([self.embedding, embedding.detach().float()])[-size:].contiguous()
        self.vehicle = torch.cat([self.vehicle, vehicle])[-size:].contiguous()
