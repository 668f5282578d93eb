"""Which entries may be among the nearest k of queries, while a gallery goes by tile by tile.

A matrix product in float32 proposes: an entry stays if its approximate distance is within twice the product's error of
the k-th smallest so far. Exact distances decide at the end, or where many are too close to tell apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.ranking import DistanceBlock, limits_of, nearest

__all__ = ["Candidates", "Exact", "Proposal"]

Exact: TypeAlias = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]
"""Returns the exact distances of a query to rows of the gallery, which are as they were offered, float64 [n]."""

_Places: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]

_LARGEST = np.finfo(np.float32).max
"""Below infinity, which is left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """The approximate distances of queries to a tile.

    Attributes:
        values: float32 [q, n]; infinity leaves an entry out.
        error: as in `DistanceBlock`.
        queries: float32 [q, D].
        gallery: float32 [n, D].
    """

    values: NDArray[np.float32]
    error: float
    queries: NDArray[np.float32]
    gallery: NDArray[np.float32]

    def of(self, queries: NDArray[np.int64]) -> DistanceBlock:
        """Return the distances of some of the queries."""
        values = np.ascontiguousarray(self.values[queries])
        return DistanceBlock(values, self.error, (self.queries[queries], self.gallery))


class Candidates:
    """The candidates of queries. Their number is bounded: a query has no more than some times k between two tiles."""

    def __init__(self, queries: int, k: int, exact: Exact) -> None:
        """Begin without any.

        Args:
            queries: the number of queries.
            k: entries per query, at least 1.
            exact: what decides.
        """
        self._k, self._exact = k, exact
        self._most = 4 * k + 64
        self._nearest = np.full((queries, k), np.inf, np.float32)  # the smallest values so far, in no order
        self._limits = np.full(queries, _LARGEST, np.float32)
        self._query, self._row = np.empty(0, np.int64), np.empty(0, np.int64)
        self._value = np.empty(0, np.float32)
        self._new: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
        self._room = 2 * queries * self._most

    def offer(self, start: int, proposal: Proposal, rows: NDArray[np.int64]) -> None:
        """Take the candidates of a tile.

        Args:
            start: the first of the proposal's queries.
            proposal: their distances to the tile.
            rows: int64 [n]: the numbers of its entries, ascending, and none that these queries were offered before.
        """
        limits = self._limits[start : start + len(proposal.queries)]
        promising = proposal.values <= limits[:, None]
        column, query = _true_in(promising)
        if len(query) > self._most:
            column, query = self._narrowed(proposal, promising)
        if not len(query):
            return
        value = proposal.values[query, column]
        self._new.append((start + query, rows[column], value))
        self._lower(start + query, value, 2 * proposal.error)
        self._room -= len(query)
        if self._room < 0:
            self._prune()
            self._room = 2 * len(self._limits) * self._most

    def best(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the nearest k of each query, nearest first, ties in the gallery's order.

        Returns:
            Their numbers, int64 [Q, k], and exact distances, float64 [Q, k]: -1 and infinity where there are fewer.
        """
        self._prune()
        shape = self._nearest.shape
        rows, distances = np.full(shape, -1, np.int64), np.full(shape, np.inf)
        order = np.argsort(self._query, kind="stable")
        ends = np.cumsum(np.bincount(self._query, minlength=shape[0]))
        for query, own in enumerate(np.split(self._row[order], ends[:-1])):
            exact = self._exact(query, own)
            nearest_first = np.lexsort([own, exact])[: self._k]
            rows[query, : len(nearest_first)] = own[nearest_first]
            distances[query, : len(nearest_first)] = exact[nearest_first]
        return rows, distances

    def _narrowed(
        self, proposal: Proposal, promising: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return column and query of those that are candidates within the tile, too, however many are promising."""
        crowded = np.flatnonzero(np.count_nonzero(promising, axis=1) > self._most)
        if len(crowded):
            part = proposal.of(crowded)
            promising[crowded] &= part.values <= limits_of(part, self._k)[:, None]
        for query in crowded[np.count_nonzero(promising[crowded], axis=1) > self._most].tolist():
            columns, _ = nearest(proposal.of(np.array([query])), self._k)
            promising[query] = False
            promising[query, columns[columns >= 0]] = True
        return _true_in(promising)

    def _lower(self, query: NDArray[np.int64], value: NDArray[np.float32], margin: float) -> None:
        """Lower the limits of queries by the values of new candidates."""
        order = np.argsort(query, kind="stable")
        changed, counts = np.unique(query, return_counts=True)
        line = np.repeat(np.arange(len(changed)), counts)
        place = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
        values = np.full((len(changed), self._k + int(counts.max())), np.inf, np.float32)
        values[:, : self._k] = self._nearest[changed]
        values[line, self._k + place] = value[order]
        values.partition(self._k - 1, axis=1)
        self._nearest[changed] = values[:, : self._k]
        self._limits[changed] = np.minimum(values[:, self._k - 1] + np.float32(margin), _LARGEST)

    def _prune(self) -> None:
        """Drop what is beyond the limits by now, and let exact distances decide where many are left."""
        query, row, value = (
            np.concatenate(one) for one in zip((self._query, self._row, self._value), *self._new, strict=True)
        )
        self._new = []
        kept = value <= self._limits[query]
        for crowded in np.flatnonzero(np.bincount(query[kept], minlength=len(self._limits)) > self._most).tolist():
            own = np.flatnonzero(kept & (query == crowded))
            kept[own] = False
            kept[own[np.lexsort([row[own], self._exact(crowded, row[own])])[: self._k]]] = True
        self._query, self._row, self._value = query[kept], row[kept], value[kept]


def _true_in(promising: NDArray[np.bool_]) -> _Places:
    """Return column and query of what is true, column by column; in one dimension it is found several times as fast."""
    column, query = np.divmod(np.flatnonzero(promising.T), len(promising))
    return column, query
