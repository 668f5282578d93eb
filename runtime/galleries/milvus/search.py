"""The exact ranking of what Milvus proposes.

Milvus computes inner products in float32, in an order of its own. As in `reid.runtime.galleries.ranking`, they only
propose: enough is asked for that what was left out is certainly no match, and exact distances decide. With an index
that is not exact, what it did not propose stays out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.milvus.collection import Collection
from reid.runtime.galleries.milvus.expressions import expression_of
from reid.runtime.galleries.protocol import Found
from reid.runtime.galleries.ranking import exact_distances, product_error

__all__ = ["MOST", "found_in"]

MOST = 16_384
"""The most matches that Milvus returns for a query."""

_MORE = 8
"""Asked for beyond k: most near-ties are among so many."""

_TOGETHER = 8192
"""Matches whose embeddings are fetched for queries together."""

_QUERIES = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Proposed:
    """What may be among a query's nearest: sequence numbers, int64 [n], and inner products, float64 [n]."""

    sequences: NDArray[np.int64]
    products: NDArray[np.float64]

    def promising(self, k: int, error: float) -> _Proposed:
        """Return those that may be among the nearest k."""
        if len(self.products) <= k:
            return self
        kept = self.products >= _limit(self.products, k, error)
        return _Proposed(self.sequences[kept], self.products[kept])


def found_in(
    collection: Collection, queries: NDArray[np.float32], k: int, conditions: Sequence[Condition], most: int = MOST
) -> list[tuple[Found, ...]]:
    """Return the best k entries of each query, best first, ties in the order in which they were added.

    Args:
        collection: where they are.
        queries: float32 [Q, D], L2-normalized.
        k: matches per query, from 1 to `most`.
        conditions: what each query's entries must be.
        most: the most matches that the server returns.

    Raises:
        DataError: the server fails.
    """
    found: list[tuple[Found, ...]] = []
    size = min(_QUERIES, max(1, _TOGETHER // k))
    for start in range(0, len(queries), size):
        part = slice(start, start + size)
        found += _found(collection, queries[part], k, conditions[part], most)
    return found


def _found(
    collection: Collection, queries: NDArray[np.float32], k: int, conditions: Sequence[Condition], most: int
) -> Iterator[tuple[Found, ...]]:
    asking = _Asking(collection, k, product_error(queries.shape[1]), most)
    proposed: list[_Proposed] = [_NOTHING] * len(queries)
    for expression, places in _by_expression(conditions).items():
        for place, one in zip(places, asking.proposed(queries[places], expression), strict=True):
            proposed[place] = one
    best = [_Best(k) for _ in queries]
    for sequences, entries, embeddings in collection.rows(np.concatenate([one.sequences for one in proposed])):
        for query, one, own in zip(queries, proposed, best, strict=True):
            if (rows := np.flatnonzero(np.isin(sequences, one.sequences))).size:
                own.offer(exact_distances(query[None], embeddings[rows])[0], [entries[row] for row in rows])
    return (own.found() for own in best)


def _by_expression(conditions: Sequence[Condition]) -> dict[str, list[int]]:
    """Return the places of queries by what Milvus has to evaluate for them: a search has one expression."""
    places: dict[str, list[int]] = {}
    for place, condition in enumerate(conditions):
        places.setdefault(expression_of(condition), []).append(place)
    return places


class _Best:
    """The nearest k entries of a query, of rows that come in ascending order."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._distances = np.empty(0)
        self._entries: list[Entry] = []

    def offer(self, distances: NDArray[np.float64], entries: list[Entry]) -> None:
        distances, entries = np.concatenate([self._distances, distances]), self._entries + entries
        order = np.argsort(distances, kind="stable")[: self._k]
        self._distances, self._entries = distances[order], [entries[place] for place in order.tolist()]

    def found(self) -> tuple[Found, ...]:
        scores = (1 - self._distances).astype(np.float32).tolist()
        return tuple(map(Found, self._entries, scores))


@dataclass(frozen=True, slots=True)
class _Asking:
    """Asks for more until what is left out is certainly not among the nearest k."""

    collection: Collection
    k: int
    error: float
    most: int

    def proposed(self, queries: NDArray[np.float32], expression: str) -> list[_Proposed]:
        """Return what may be among the nearest k of each query, and nothing else."""
        found: list[_Proposed] = [_NOTHING] * len(queries)
        undecided, limit = list(range(len(queries))), min(self.k + _MORE, self.most)
        while undecided:
            hits = self.collection.nearest(queries[undecided], expression, limit)
            for place, one in zip(undecided, hits, strict=True):
                found[place] = _Proposed(*one)
            undecided = [place for place in undecided if not self._is_decided(found[place], limit)]
            if limit == self.most:
                break
            limit = min(4 * limit, self.most)
        for place in undecided:
            found[place] = self._halved(queries[place : place + 1], expression, found[place])
        return [one.promising(self.k, self.error) for one in found]

    def _is_decided(self, proposed: _Proposed, limit: int) -> bool:
        products = proposed.products
        return len(products) < limit or bool(products.min() < _limit(products, self.k, self.error))

    def _halved(self, query: NDArray[np.float32], expression: str, proposed: _Proposed) -> _Proposed:
        """Return what may be among the nearest k of a query where more are as near as the server returns.

        The rows are asked for in two halves, of which each has some of those at hand.
        """
        ordered = np.sort(proposed.sequences)
        middle, prefix = int(ordered[(len(ordered) - 1) // 2]), f"({expression}) and " if expression else ""
        halves = [f"{prefix}sequence <= {middle}", f"{prefix}sequence > {middle}"]
        parts = [self.proposed(query, half)[0] for half in halves]
        return _Proposed(
            np.concatenate([part.sequences for part in parts]), np.concatenate([part.products for part in parts])
        )


def _limit(products: NDArray[np.float64], k: int, error: float) -> float:
    """Return the inner product below which a row is certainly not among the nearest k of more than k."""
    return float(np.partition(products, -k)[-k]) - 2 * error


_NOTHING = _Proposed(np.empty(0, np.int64), np.empty(0))
