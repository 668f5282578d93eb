"""Cosine distances between embeddings, block by block, and the nearest gallery entries of each query.

Equal embeddings get equal distances, and a decision never depends on the BLAS, the block, the thread or the CPU
that computed it. A matrix product in float32 promises neither: it adds up the same products in another order for
another column, kernel or number of threads. So it only proposes. Its error is bounded whatever the order, and
entries that are too close to tell apart are compared by their exact distance.

The exact distance is a sum that has no rounding to depend on. Both embeddings are rounded to multiples of 2^-26,
which moves a typical distance by less than float32 can tell, and none by more than about sqrt(D) * 2^-26 (see
`product_error`). Then they are multiplied as integers held in float64: by Cauchy-Schwarz no partial sum reaches
2^53, so every order of summation gives the same bits, and the fastest matrix product may compute it. A fixed order
of summation, written out in elementwise operations, would be as reproducible, but fifty times slower where many
entries are tied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError

__all__ = [
    "LENGTH_TOLERANCE",
    "DistanceBlock",
    "cosine_distance",
    "distance_rows",
    "exact_distances",
    "limits_of",
    "nearest",
    "nearest_of",
    "product_error",
    "top_k",
    "wrong_lengths",
]

LENGTH_TOLERANCE = 0.01
"""How far the length of an embedding may be from 1: room for FP16, none for a forgotten normalization."""

_LONGEST_SQUARED = 1.03
"""An upper bound on the product of two accepted lengths, with room for the rounding of the check itself."""

_STEPS = 2.0**26
"""Steps of the exact grid per unit. Its products are multiples of 2^-52, and 1.03 * 2^52 is below 2^53."""

_TILE = 1024
"""Gallery rows that are held in float64 at a time."""

_EXACT_SHARE = 1 / 32
"""The share of a block beyond which the exact product of the whole block is cheaper than that of single entries."""

_OPPOSITE = 2.0
"""The distance of opposite vectors, and of anything that is no vector at all: NaN or infinity."""


class DistanceBlock:
    """The distances of consecutive queries to every gallery entry: approximate at hand, exact on demand.

    Two values that differ by more than `2 * error` are in the order of their exact distances.

    Attributes:
        values: float32 [c, G]; the caller may overwrite them, for example with infinity to leave an entry out.
        error: the largest difference between a value and its exact distance; 0 if the values are exact themselves.
    """

    def __init__(
        self,
        values: NDArray[np.float32],
        error: float = 0.0,
        embeddings: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> None:
        """Hold distances.

        Args:
            values: float32 [c, G].
            error: the bound; needs `embeddings` unless it is 0.
            embeddings: of the queries, float32 [c, D], and of the gallery, float32 [G, D].
        """
        self.values = values
        self.error = error
        self._embeddings = embeddings
        self._affordable = int(values.size * _EXACT_SHARE)
        self._exact: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.values)

    def exact(self, row: int, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the exact distances of the query in `row` to the gallery entries `columns`, float64 [n]."""
        if self._embeddings is None:
            return np.asarray(self.values[row, columns], np.float64)
        query, gallery = self._embeddings
        self._affordable -= len(columns)
        if self._affordable >= 0:
            return np.asarray(exact_distances(query[row : row + 1], gallery[columns])[0])
        if self._exact is None:
            self._exact = exact_distances(query, gallery)
        return np.asarray(self._exact[row, columns])


def distance_rows(
    query: NDArray[np.float32], gallery: NDArray[np.float32], *, chunk: int = 256
) -> Iterator[DistanceBlock]:
    """Yield the cosine distances `1 - q.g` in blocks of consecutive queries.

    For unit vectors this is half the squared Euclidean distance, so both rank alike. Only one block exists at
    a time: memory does not grow with queries x gallery.

    Args:
        query: float32 [Q, D], L2-normalized.
        gallery: float32 [G, D], L2-normalized.
        chunk: queries per block; the last block may be smaller.

    Raises:
        DataError: the sizes disagree, or a row does not have length 1 (NaN included).
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, expected at least 1")
    _check_embeddings(query, gallery)
    return _distance_blocks(query, gallery, chunk)


def exact_distances(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the exact cosine distances, float64 [Q, G], of embeddings on a grid of 2^-26; see the module.

    Args:
        query: float32 [Q, D], L2-normalized.
        gallery: float32 [G, D], L2-normalized.
    """
    distances = np.empty((len(query), len(gallery)))
    asked = _as_integers(query)
    for start in range(0, len(gallery), _TILE):
        tile = slice(start, start + _TILE)
        np.matmul(asked, _as_integers(gallery[tile]).T, out=distances[:, tile])
    distances *= _STEPS**-2
    return np.subtract(1, distances, out=distances)


def top_k(
    query: NDArray[np.float32], gallery: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the best `k' = min(k, G)` gallery rows of each query, best first, ties in gallery order.

    Args:
        query: float32 [Q, D], L2-normalized.
        gallery: float32 [G, D], L2-normalized.
        k: matches per query, at least 1.

    Returns:
        Gallery indices, int64 [Q, k'], and their cosine similarity, float32 [Q, k'].

    Raises:
        DataError: `distance_rows` raises it.
    """
    return nearest_of(distance_rows(query, gallery), (len(query), len(gallery)), k)


def nearest_of(
    blocks: Iterable[DistanceBlock], size: tuple[int, int], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return what `top_k` returns, of distances that are there already; a similarity is `1 - distance`.

    Args:
        blocks: the distances of consecutive queries.
        size: Q and G, the size of all blocks together.
        k: matches per query, at least 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    shape = (size[0], min(k, size[1]))
    indices, similarities = np.empty(shape, np.int64), np.empty(shape, np.float32)
    start = 0
    for block in blocks:
        rows = slice(start, start := start + len(block))
        indices[rows], distances = nearest(block, k)
        similarities[rows] = 1 - distances
    return indices, similarities


def nearest(block: DistanceBlock, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the nearest `k' = min(k, G)` gallery entries of each query, nearest first, ties in gallery order.

    Args:
        block: without NaN; entries at infinity are left out.
        k: entries per query, at least 1.

    Returns:
        Columns, int64 [c, k'], and their exact distances, float64 [c, k']: -1 and infinity where a query has fewer.
    """
    shape = (len(block), min(k, block.values.shape[1]))
    columns, distances = np.full(shape, -1, np.int64), np.full(shape, np.inf)
    for row, limit in enumerate(limits_of(block, k)):
        candidates = np.flatnonzero(block.values[row] <= limit)
        exact = block.exact(row, candidates)
        best = np.argsort(exact, kind="stable")[:k]
        columns[row, : len(best)] = candidates[best]
        distances[row, : len(best)] = exact[best]
    return columns, distances


def cosine_distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return `1 - cosine` of unit rows [n, D] as half their squared Euclidean distance; 2 where one is not finite.

    Unlike `1 - a.b` it resolves differences far below float32's rounding of 1.
    """
    finite = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    distances = np.full(len(a), _OPPOSITE)
    difference = (a[finite] - b[finite]).astype(np.float64)
    distances[finite] = np.einsum("nd,nd->n", difference, difference) / 2
    return distances


def _distance_blocks(query: NDArray[np.float32], gallery: NDArray[np.float32], chunk: int) -> Iterator[DistanceBlock]:
    error = product_error(gallery.shape[1])
    for start in range(0, len(query), chunk):
        asked = query[start : start + chunk]
        block = asked @ gallery.T
        yield DistanceBlock(np.subtract(1, block, out=block), error, (asked, gallery))


def product_error(dimensions: int) -> float:
    """Bound the difference between `1 - q.g` in float32, summed in any order, and the exact distance.

    The sum is off by at most gamma_D |q|.|g| (Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.1),
    the embeddings by half a grid step in every dimension. The last term covers the subtraction from 1 and the
    rounding of the limits that values are compared with.
    """
    unit = 2.0**-24
    gamma = dimensions * unit / (1 - dimensions * unit)
    grid = _LONGEST_SQUARED * np.sqrt(dimensions) / _STEPS
    return float(gamma * _LONGEST_SQUARED + grid + 2.0**-21)


def _as_integers(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.rint(embeddings * np.float32(_STEPS)), np.float64)  # a power of two: exact in float32


def limits_of(block: DistanceBlock, k: int) -> NDArray[np.float32]:
    """Return the value, float32 [c], beyond which an entry is certainly not among a query's nearest k."""
    largest = np.finfo(np.float32).max  # below infinity, which is left out
    if k >= block.values.shape[1]:
        return np.full(len(block), largest)
    limits = np.partition(block.values, k - 1, axis=1)[:, k - 1]
    return np.asarray(np.minimum(limits + np.float32(2 * block.error), largest))


def _check_embeddings(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> None:
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise DataError(
            f"query embeddings {list(query.shape)} do not fit gallery embeddings {list(gallery.shape)}: "
            "embed both with the same model"
        )
    for name, embeddings in (("query", query), ("gallery", gallery)):
        if wrong := wrong_lengths(embeddings):
            raise DataError(f"{name} {wrong}: L2-normalize them; nan comes from the model")


def wrong_lengths(embeddings: NDArray[np.float32], tolerance: float = LENGTH_TOLERANCE) -> str:
    """Return what is wrong with the lengths of embeddings [n, D], in a few words; "" where all are about 1."""
    lengths = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= tolerance))
    if not wrong.size:
        return ""
    length = lengths[wrong[0]]
    return f"embedding {wrong[0]} has length {length:.4g}, expected 1 ({wrong.size} of {len(lengths)} are wrong)"
