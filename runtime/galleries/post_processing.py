"""What is done with embeddings before a gallery is ranked: nothing, query expansion, re-ranking, or both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.expansion import MOST_NEIGHBORS, expanded_queries
from reid.runtime.galleries.ranking import DistanceBlock, distance_rows, nearest_of
from reid.runtime.galleries.reranking import reranked_rows

__all__ = ["PLAIN", "PostProcessing", "distance_blocks", "top_k_of"]


@dataclass(frozen=True, slots=True)
class PostProcessing:
    """What is done with embeddings before a gallery is ranked; queries are expanded first, then re-ranked.

    Attributes:
        expand_queries: the number of gallery entries that each query is averaged with, at most MOST_NEIGHBORS; 0 for
            none. See `expanded_queries`.
        rerank: whether to re-rank by k-reciprocal neighbors. See `reranked_rows`.
    """

    expand_queries: int = 0
    rerank: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.expand_queries <= MOST_NEIGHBORS:
            raise ValueError(f"expand_queries={self.expand_queries}: expected 0 to {MOST_NEIGHBORS}")

    @property
    def name(self) -> str:
        """What it is, for tables: `plain`, `query expansion (5)`, `re-ranking` or both, comma-separated."""
        expansion = [f"query expansion ({self.expand_queries})"] if self.expand_queries else []
        return ", ".join([*expansion, *(["re-ranking"] if self.rerank else [])]) or "plain"

    @property
    def score_meaning(self) -> str:
        """What `1 - distance` is: a cosine similarity, but for re-ranking."""
        if self.rerank:
            return "1 - re-ranked distance"
        return "cosine similarity to the expanded query" if self.expand_queries else "cosine similarity"


PLAIN = PostProcessing()


def distance_blocks(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    post_processing: PostProcessing = PLAIN,
    *,
    chunk: int = 256,
) -> Iterator[DistanceBlock]:
    """Yield the post-processed distances in blocks of consecutive queries.

    Memory does not grow with Q x G. Re-ranking holds the neighbors of every query and gallery entry, and its result
    depends on all queries; else each query is on its own.

    Args:
        query: float32 [Q, D], L2-normalized.
        gallery: float32 [G, D], L2-normalized.
        post_processing: what is done before the ranking.
        chunk: queries per block.

    Raises:
        DataError: `distance_rows` raises it.
    """
    if post_processing.expand_queries:
        query = expanded_queries(query, gallery, post_processing.expand_queries, chunk=chunk)
    return (reranked_rows if post_processing.rerank else distance_rows)(query, gallery, chunk=chunk)


def top_k_of(
    query: NDArray[np.float32], gallery: NDArray[np.float32], k: int, post_processing: PostProcessing
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return what `top_k` returns, of a post-processed ranking; see `PostProcessing.score_meaning`."""
    return nearest_of(distance_blocks(query, gallery, post_processing), (len(query), len(gallery)), k)
