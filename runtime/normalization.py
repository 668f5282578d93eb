"""Embeddings have length 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["normalize"]


def normalize(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalize along the last axis; a zero vector stays zero."""
    norm = np.linalg.norm(embedding, axis=-1, keepdims=True)
    return np.asarray(embedding / np.maximum(norm, 1e-12), np.float32)
