"""Average query expansion: search again with the mean of a query and what it found.

Chum, Philbin, Sivic, Isard, Zisserman: *Total Recall: Automatic Query Expansion with a Generative Feature Model for
Object Retrieval*, ICCV 2007. It knows embeddings and no labels: neighbors come from the whole gallery.

The result is the same, bit for bit, on every CPU and in every order of the gallery, but for ties, which go in gallery
order: neighbors are exact (see `reid.runtime.galleries.ranking`), and so are sums and lengths.
"""

from __future__ import annotations

from math import fsum, sqrt

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.ranking import distance_rows, nearest

__all__ = ["MOST_NEIGHBORS", "expanded_queries"]

MOST_NEIGHBORS = 1000
"""Nobody means more; and the sum of as many numbers on the grid has no rounding."""

_GRID = 2.0**40
"""Steps per unit: far below float32's, and 8,000 numbers of at most 1 add up without rounding."""


def expanded_queries(
    query: NDArray[np.float32], gallery: NDArray[np.float32], neighbors: int, *, chunk: int = 256
) -> NDArray[np.float32]:
    """Return the L2-normalized mean of each query and its nearest gallery entries, float32 [Q, D].

    A mean of length 0, of opposite embeddings, has no direction: such a query stays as it is.
    The distances of `chunk` queries are held at a time.

    Args:
        query: float32 [Q, D], L2-normalized.
        gallery: float32 [G, D], L2-normalized.
        neighbors: the number of gallery entries in the mean, 1 to MOST_NEIGHBORS; all of a smaller gallery.
        chunk: queries per block.

    Raises:
        DataError: `distance_rows` raises it.
    """
    if not 1 <= neighbors <= MOST_NEIGHBORS:
        raise ValueError(f"neighbors={neighbors}: expected 1 to {MOST_NEIGHBORS}")
    expanded = query.copy()
    start = 0
    for block in distance_rows(query, gallery, chunk=chunk):
        rows = slice(start, start := start + len(block))
        found, _ = nearest(block, neighbors)
        sums = _on_grid(query[rows])
        for column in found.T:
            sums += _on_grid(gallery[column])
        lengths = _lengths(sums)
        directed = lengths > 0
        expanded[rows][directed] = sums[directed] / lengths[directed, None]
    return expanded


def _on_grid(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Round embeddings to whole steps, so that they can be added up in any order."""
    return np.rint(embeddings.astype(np.float64) * _GRID)


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the length of each row, float64 [n]; `fsum` rounds once, so the order of its terms does not matter."""
    return np.array([sqrt(fsum(squares)) for squares in (rows * rows).tolist()])
