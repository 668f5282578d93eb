"""Exact search that goes through a gallery once, tile by tile, whatever its size.

Results depend neither on tiles and segments nor on the BLAS: as in `reid.runtime.galleries.ranking`, exact distances
decide. Embeddings were checked when they went in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.protocol import Found
from reid.runtime.galleries.ranking import exact_distances, product_error
from reid.runtime.galleries.store.candidates import Candidates, Proposal
from reid.runtime.galleries.store.filtering import allowed_rows
from reid.runtime.galleries.store.numbers import as_float32
from reid.runtime.galleries.store.segment import Segment

__all__ = ["best_rows", "exact_distances_to", "found_at", "found_in"]

_TILE_BYTES = 1 << 25
"""Of the embeddings, in float32, that are looked at together."""

_CONVERTED = 8
"""So many times less where they are stored as FP16: what was converted should still be in the cache."""

_FIRST_ROWS = 512
"""Rows of the first tile; each is twice as long as the one before, since the first leave the most candidates."""

_QUERIES = 256
"""Queries whose distances to a tile are held together."""

_FEW = 2
"""So many queries are faster row by row, as memory gives it: a matrix product lays the gallery out anew first."""

_SPARSE = 0.5
"""Where no more of a tile are allowed, their embeddings are copied and the others not looked at."""

_DECIDED_ROWS = 4096
"""Candidates whose embeddings are held together."""


@dataclass(frozen=True, slots=True, eq=False)
class _Questions:
    """Queries whose distances are held together.

    Attributes:
        start: the number of the first.
        queries: float32 [q, D].
        conditions: their conditions, each once.
        place: int64 [q]: which of these is whose.
    """

    start: int
    queries: NDArray[np.float32]
    conditions: tuple[Condition, ...]
    place: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """Rows of the gallery that some queries are compared with.

    Attributes:
        rows: int64 [n]: their numbers in the whole gallery, ascending.
        embeddings: float32 [n, D].
        allowed: bool [q or 1, n]; None where all are.
    """

    rows: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    allowed: NDArray[np.bool_] | None


class _Span:
    """Rows of a segment, from `start` to `stop`, which all queries go through; `before` are those of other segments."""

    def __init__(self, segment: Segment, start: int, stop: int, before: int) -> None:
        self._segment, self._start, self._stop, self._before = segment, start, stop, before
        self.counts = False  # whether any of them was looked at

    @cached_property
    def _embeddings(self) -> NDArray[np.float32]:
        return as_float32(self._segment.embeddings(self._start, self._stop))

    def tile(self, questions: _Questions) -> _Tile | None:
        """Return the rows that some queries have to be compared with; None for none."""
        rows = np.arange(self._start, self._stop)
        allowed = allowed_rows(self._segment, self._start, self._stop, questions.conditions)
        wanted = None if allowed is None else allowed.any(axis=0)
        if wanted is not None and not wanted.any():
            return None
        self.counts = True
        if allowed is not None and len(allowed) > 1:
            allowed = allowed[questions.place]
        if allowed is None or wanted is None or wanted.mean() > _SPARSE:
            return _Tile(self._before + rows, self._embeddings, allowed)
        rows = rows[wanted]
        return _Tile(self._before + rows, as_float32(self._segment.embeddings_of(rows)), allowed[:, wanted])


class _Rows:
    """The rows of all segments, by their numbers in the whole gallery: one after the other."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._starts = np.cumsum([0, *(segment.record.rows for segment in segments)])

    def _by_segment(self, rows: NDArray[np.int64]) -> Iterator[tuple[Segment, NDArray[np.int64]]]:
        """Yield the segments that ascending rows are in, and the rows' numbers there."""
        ends = np.searchsorted(rows, self._starts)
        for place in np.flatnonzero(np.diff(ends)).tolist():
            yield self._segments[place], rows[ends[place] : ends[place + 1]] - self._starts[place]

    def entries(self, rows: NDArray[np.int64]) -> list[Entry]:
        """Return the entries of ascending rows."""
        return [entry for segment, own in self._by_segment(rows) for entry in segment.columns_of(own).entries()]

    def exact_distances(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the exact distances of a query, float32 [D], to ascending rows, float64 [n]."""
        distances = [np.empty(0)]
        for start in range(0, len(rows), _DECIDED_ROWS):
            for segment, own in self._by_segment(rows[start : start + _DECIDED_ROWS]):
                distances.append(exact_distances(query[None], as_float32(segment.embeddings_of(own)))[0])
        return np.concatenate(distances)


def found_in(
    segments: Sequence[Segment], queries: NDArray[np.float32], k: int, conditions: Sequence[Condition]
) -> list[tuple[Found, ...]]:
    """Return the best k entries of each query; arguments and errors are those of `best_rows`, but k may be 0."""
    if not k or not len(queries):
        return [()] * len(queries)
    return found_at(segments, *best_rows(segments, queries, k, conditions))


def found_at(
    segments: Sequence[Segment], rows: NDArray[np.int64], distances: NDArray[np.float64]
) -> list[tuple[Found, ...]]:
    """Return the entries of what `best_rows` returns."""
    found = np.unique(rows[rows >= 0])
    entries = dict(zip(found.tolist(), _Rows(segments).entries(found), strict=True))
    scores = (1 - distances).astype(np.float32)
    return [
        tuple(Found(entries[row], score) for row, score in zip(*pair, strict=True) if row >= 0)
        for pair in zip(rows.tolist(), scores.tolist(), strict=True)
    ]


def exact_distances_to(
    segments: Sequence[Segment], query: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the exact distances of a query, float32 [D], to ascending rows of the whole gallery, float64 [n]."""
    return _Rows(segments).exact_distances(query, rows)


def best_rows(
    segments: Sequence[Segment], queries: NDArray[np.float32], k: int, conditions: Sequence[Condition]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the nearest k entries of each query, nearest first, ties in the gallery's order.

    Args:
        segments: the gallery.
        queries: float32 [Q, D], L2-normalized.
        k: entries per query, at least 1.
        conditions: what each query's entries must be.

    Returns:
        Their numbers in the whole gallery, int64 [Q, k], and exact distances, float64 [Q, k]: -1 and infinity where
        there are fewer.

    Raises:
        DataError: the gallery is damaged.
    """
    rows, error = _Rows(segments), product_error(queries.shape[1])
    candidates = Candidates(len(queries), k, lambda query, own: rows.exact_distances(queries[query], own))
    asked = list(_questions(queries, conditions))
    for span in _spans(segments, queries.shape[1]):
        for some in asked:
            if (tile := span.tile(some)) is not None:
                values = _distances(some.queries, tile.embeddings)
                if tile.allowed is not None:
                    np.copyto(values, np.inf, where=~tile.allowed)
                candidates.offer(some.start, Proposal(values, error, some.queries, tile.embeddings), tile.rows)
    return candidates.best()


def _distances(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float32]:
    values: NDArray[np.float32]
    if len(queries) <= _FEW and hasattr(np, "vecdot"):  # NumPy 2
        values = np.vecdot(gallery[:, None], queries)
    else:
        values = gallery @ queries.T  # up to twice as fast as its transpose
    np.subtract(1, values, out=values)
    return values.T


def _spans(segments: Sequence[Segment], dimensions: int) -> Iterator[_Span]:
    """Yield all rows; they get longer with what was looked at."""
    before, size = 0, _FIRST_ROWS
    for segment in segments:
        share = 1 if segment.embeddings(0, 0).dtype == np.float32 else _CONVERTED
        most = max(1, _TILE_BYTES // (4 * dimensions * share))
        start = 0
        while start < segment.record.rows:
            stop = min(start + min(size, most), segment.record.rows)
            yield (span := _Span(segment, start, stop, before))
            size *= 1 + span.counts
            start = stop
        before += segment.record.rows


def _questions(queries: NDArray[np.float32], conditions: Sequence[Condition]) -> Iterator[_Questions]:
    """Yield the queries, some at a time."""
    for start in range(0, len(queries), _QUERIES):
        own = conditions[start : start + _QUERIES]
        places = {condition: place for place, condition in enumerate(dict.fromkeys(own))}
        place = np.array([places[condition] for condition in own], np.int64)
        yield _Questions(start, queries[start : start + _QUERIES], tuple(places), place)
