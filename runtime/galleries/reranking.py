"""Re-ranking by k-reciprocal neighbors, without a distance matrix of everything to everything.

Zhong, Zheng, Cao, Li: *Re-ranking Person Re-identification with k-reciprocal Encoding*, CVPR 2017. Each image
is described by a sparse vector V: how strongly it is tied to the images that are its mutual neighbors. Two
images are alike when their vectors overlap (the Jaccard distance).

The result is the same, bit for bit, on every CPU and in every order of the gallery, but for ties, which go in gallery
order: neighbors and distances are exact (see `reid.runtime.galleries.ranking`), weights are rounded to a grid on
which their sums are exact, and everything else is elementwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.ranking import DistanceBlock, distance_rows, exact_distances, nearest

__all__ = ["reranked_rows"]

_GRID = 2.0**40
"""Steps of the weights per unit: fine enough for any use, and any 8,192 weights below 1 add up without rounding."""

_TAYLOR_TERMS = 18
"""1 / 19! is below float64's rounding of 1."""


def reranked_rows(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    chunk: int = 256,
) -> Iterator[DistanceBlock]:
    """Yield the re-ranked distances in blocks of consecutive queries, as `distance_rows` yields plain ones.

    The original distance in the mix is the squared Euclidean one, divided by the query's largest to anything
    in the query set or gallery. Memory grows with (Q + G) x neighbors, not with (Q + G) squared.
    The neighbors are found at the call, the blocks as they are asked for.

    Args:
        query: float32 [Q, D], L2-normalized.
        gallery: float32 [G, D], L2-normalized.
        k1: the number of neighbors that may be reciprocal.
        k2: the number of neighbors that an image's vector is averaged over; 1 leaves it as it is.
        lambda_value: the share of the original distance, from 0 (Jaccard alone) to 1.
        chunk: queries per block.

    Raises:
        DataError: `distance_rows` raises it.
    """
    if min(k1, k2, chunk) < 1 or not 0 <= lambda_value <= 1:
        raise ValueError(
            f"k1={k1}, k2={k2}, chunk={chunk}, lambda_value={lambda_value}: "
            "expected at least 1 for the first three, and 0 to 1 for the last"
        )
    distance_rows(query, gallery)  # checks both, so that an error names the side
    vectors, farthest = _vectors(np.concatenate([query, gallery]), k1, k2, chunk)
    parts = (slice(start, start + chunk) for start in range(0, len(query), chunk))
    scale = farthest[: len(query), None]
    originals = (exact_distances(query[part], gallery) / scale[part] for part in parts)
    return _mixed(originals, vectors, lambda_value)


def _vectors(embeddings: NDArray[np.float32], k1: int, k2: int, chunk: int) -> tuple[_SparseRows, NDArray[np.float64]]:
    """Return every row's vector V, and its largest original distance, float64 [N]."""
    neighbors, farthest = _neighbors(embeddings, max(k1 + 1, k2), chunk)
    vectors = _encoded(embeddings, farthest, _expansions(neighbors[:, : k1 + 1], k1))
    if k2 > 1:
        vectors = _averaged(vectors, neighbors[:, :k2])
    return vectors, farthest


def _mixed(
    originals: Iterable[NDArray[np.float64]], vectors: _SparseRows, lambda_value: float
) -> Iterator[DistanceBlock]:
    """Mix each block of original distances, [c, G], with the Jaccard distances of the same queries."""
    inverted = vectors.transposed()
    row = 0
    for block in originals:
        block *= lambda_value
        for mixed in block:
            mixed += (1 - lambda_value) * _jaccard(vectors, inverted, row)[-len(mixed) :]
            row += 1
        yield DistanceBlock(block.astype(np.float32))


def _neighbors(embeddings: NDArray[np.float32], k: int, chunk: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each row's `min(k, N)` nearest rows, int64 [N, k], and its largest distance, float64 [N]."""
    neighbors, farthest = [], []
    for block in distance_rows(embeddings, embeddings, chunk=chunk):
        neighbors.append(nearest(block, k)[0])
        farthest.append(_largest(block))
    # Where all images are the same, the largest distance is 0, or what their lengths are off by.
    return np.concatenate(neighbors), np.maximum(np.concatenate(farthest), np.finfo(np.float32).eps)


def _largest(block: DistanceBlock) -> NDArray[np.float64]:
    """Return the largest exact distance of every row, float64 [c]."""
    limits = block.values.max(axis=1) - np.float32(2 * block.error)
    return np.array(
        [block.exact(row, np.flatnonzero(block.values[row] >= limit)).max() for row, limit in enumerate(limits)]
    )


def _reciprocal(neighbors: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return, as bool [N, k], which of the neighbors, int64 [N, k], have the row among theirs as well."""
    itself = np.arange(len(neighbors))[:, None]
    return np.stack([(neighbors[column] == itself).any(axis=1) for column in neighbors.T], axis=1)


def _expansions(neighbors: NDArray[np.int64], k1: int) -> Iterator[NDArray[np.int64]]:
    """Yield each row's set R*: its k1-reciprocal neighbors, and theirs where the overlap is large.

    A neighbor's own set, with half of k1, joins when more than two thirds of it are in the row's already.
    """
    reciprocal = _reciprocal(neighbors)
    half = neighbors[:, : round(k1 / 2) + 1]
    half = np.where(_reciprocal(half), half, -1)
    sizes = np.count_nonzero(half >= 0, axis=1)
    member = np.zeros(len(neighbors) + 1, np.bool_)  # one more, never set: where -1 points to
    for row, mutual in zip(neighbors, reciprocal, strict=True):
        own = row[mutual]
        member[own] = True
        overlap = np.count_nonzero(member[half[own]], axis=1)
        member[own] = False
        joining = half[own[3 * overlap > 2 * sizes[own]]]
        yield np.unique(np.concatenate([own, joining[joining >= 0]]))


def _encoded(
    embeddings: NDArray[np.float32], farthest: NDArray[np.float64], expansions: Iterable[NDArray[np.int64]]
) -> _SparseRows:
    """Return every row's vector V: Gaussian weights of the distances to its set, with sum 1."""
    sets = list(expansions)
    distances = [exact_distances(embeddings[row : row + 1], embeddings[members])[0] for row, members in enumerate(sets)]
    rows = np.repeat(np.arange(len(sets)), [len(members) for members in sets])
    relative = np.maximum(np.concatenate(distances), 0) / farthest[rows]
    weights = _on_grid(_exponential(-relative))
    return _SparseRows.stack(sets, _on_grid(weights / np.bincount(rows, weights)[rows]))


def _exponential(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return e^x for x from -1 to 0 by Taylor's series; the last bit of `np.exp` depends on the CPU."""
    result = np.ones_like(x)
    for term in range(_TAYLOR_TERMS, 0, -1):
        result *= x / term
        result += 1
    return result


def _on_grid(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round weights so that they can be added up in any order."""
    return np.asarray(np.rint(weights * _GRID) / _GRID)


def _averaged(vectors: _SparseRows, neighbors: NDArray[np.int64]) -> _SparseRows:
    """Return the mean of the vectors of each row's neighbors, int64 [N, k2]: local query expansion."""
    sets, means = [], []
    for nearby in neighbors:
        columns, values, _ = vectors.take(nearby)
        present, entry = np.unique(columns, return_inverse=True)
        sets.append(present)
        means.append(np.bincount(entry, values) / len(nearby))
    return _SparseRows.stack(sets, _on_grid(np.concatenate(means)))


def _jaccard(vectors: _SparseRows, inverted: _SparseRows, row: int) -> NDArray[np.float64]:
    """Return the Jaccard distance of one row's vector to everything's, float64 [N].

    All vectors sum to 1, so the sum of maxima is 2 minus the sum of minima, and only the latter is counted.
    """
    columns, values, _ = vectors.take(np.array([row]))
    others, other_values, lengths = inverted.take(columns)
    minima = np.minimum(np.repeat(values, lengths), other_values)
    shared = np.bincount(others, minima, minlength=len(inverted.starts) - 1)
    return 1 - shared / (2 - shared)


@dataclass(frozen=True, slots=True, eq=False)
class _SparseRows:
    """A square sparse matrix whose row i has its entries at `starts[i]` to `starts[i + 1]`."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def stack(cls, columns: Sequence[NDArray[np.int64]], values: NDArray[np.float64]) -> _SparseRows:
        """Return the matrix of each row's columns, ascending, and the values of all rows, one after the other."""
        return cls(np.cumsum([0, *map(len, columns)]), np.concatenate(columns), values)

    def take(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Return columns and values of the rows' entries, one row after the other, and each row's length."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        before = np.cumsum(lengths) - lengths
        entries = np.arange(lengths.sum()) + np.repeat(self.starts[rows] - before, lengths)
        return self.columns[entries], self.values[entries], lengths

    def transposed(self) -> _SparseRows:
        """Return the matrix with rows and columns exchanged."""
        lengths = np.diff(self.starts)
        order = np.argsort(self.columns, kind="stable")
        starts = np.cumsum([0, *np.bincount(self.columns, minlength=len(lengths))])
        rows = np.repeat(np.arange(len(lengths)), lengths)
        return _SparseRows(starts, rows[order], self.values[order])
