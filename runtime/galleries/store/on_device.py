"""A store that a GPU searches, with the results of the CPU, bit for bit.

The kernel proposes: it adds up products in float32, with an error that is bounded as for any other order of summation;
halves are float32 before. Exact distances on the host decide between what it proposes. Where it cannot be told that all
of the nearest are among these, since too many are too close to each other, the host searches for that query alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import DeviceArray, open_cuda
from reid.runtime.errors import SessionError
from reid.runtime.galleries.conditions import ANY, Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.protocol import Found, Kind
from reid.runtime.galleries.ranking import product_error
from reid.runtime.galleries.store.checking import checked_queries
from reid.runtime.galleries.store.device_tiles import DeviceTile, DeviceTiles
from reid.runtime.galleries.store.filtering import windows_of
from reid.runtime.galleries.store.search import best_rows, exact_distances_to, found_at
from reid.runtime.galleries.store.segment import Segment
from reid.runtime.galleries.store.store import Store
from reid.runtime.kernels.library import Kernels, check_dimensions
from reid.runtime.kernels.top_k import MOST_MATCHES, Conditions, TopK
from reid.runtime.space import Space

__all__ = ["ROOM", "StoreOnDevice", "open_on_device"]

ROOM = 4 << 30
"""Bytes of embeddings that stay on the GPU, beside the model that embeds queries there."""

_QUERIES = 256
"""Queries that are searched together."""

_MORE = 64
"""Matches that are proposed beyond those that are wanted: room for some that are too close to tell apart."""


def open_on_device(store: Store, ordinal: int = 0, *, room: int = ROOM) -> StoreOnDevice:
    """Let a GPU search a store.

    Args:
        store: the store; it stays the caller's to close.
        ordinal: the GPU's number.
        room: the most bytes of it that stay on the GPU; the rest is uploaded for each search.

    Raises:
        SessionError: there is no such GPU, no package to drive it, or no kernel for it; or it cannot take embeddings of
            this size.
    """
    return StoreOnDevice(store, Kernels(open_cuda(ordinal)), room=room)


class StoreOnDevice:
    """A store that a GPU searches; a `reid.runtime.galleries.protocol.Gallery`. Several threads may take turns."""

    def __init__(self, store: Store, kernels: Kernels, *, room: int = ROOM) -> None:
        """Search a store by kernels; see `open_on_device`."""
        try:
            check_dimensions(store.space.dimensions)
        except ValueError as error:
            raise SessionError(f"{store.path}: {error}; or search it on the CPU") from None
        self._store, self._kernels = store, kernels
        self._stream = kernels.cuda.stream()
        self._tiles = DeviceTiles(kernels.cuda, self._stream, room)
        self._top_k: TopK | None = None
        self._turn = threading.Lock()

    @property
    def space(self) -> Space:
        """The space of the embeddings."""
        return self._store.space

    @property
    def kind(self) -> Kind | None:
        """What it holds: `Store.kind`."""
        return self._store.kind

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._store)

    def entries(self) -> Iterator[list[Entry]]:
        """Yield what `Store.entries` does."""
        return self._store.entries()

    def batches(self) -> Iterator[tuple[list[Entry], NDArray[np.float32]]]:
        """Yield what `Store.batches` does."""
        return self._store.batches()

    def search(
        self, embeddings: NDArray[np.float32], k: int, conditions: Sequence[Condition] | None = None
    ) -> list[tuple[Found, ...]]:
        """Return what `Store.search` returns; arguments are the same.

        Raises:
            DataError: as `Store.search`.
            SessionError: the GPU fails, or has no memory for a tile.
        """
        segments = self._store.segments
        rows = sum(segment.record.left for segment in segments)
        if not 1 <= k <= MOST_MATCHES - _MORE or not rows:
            return self._store.search(embeddings, k, conditions)
        queries, conditions = checked_queries(embeddings, self.space.dimensions, k, conditions)
        found: list[tuple[Found, ...]] = []
        for start in range(0, len(queries), _QUERIES):
            part = slice(start, start + _QUERIES)
            found += self._found(segments, queries[part], min(k, rows), conditions[part])
        return found

    def close(self) -> None:
        """Give back the GPU's memory."""
        with self._turn:
            self._tiles.clear()
            self._top_k = None

    def _found(
        self, segments: Sequence[Segment], queries: NDArray[np.float32], k: int, conditions: Sequence[Condition]
    ) -> list[tuple[Found, ...]]:
        with self._turn:
            proposed = self._proposed(segments, queries, k, conditions)
        nearest, distances, unsure = proposed.decided(segments, queries, k)
        if len(unsure):
            own = [conditions[query] for query in unsure.tolist()]
            nearest[unsure], distances[unsure] = best_rows(segments, queries[unsure], k, own)
        return found_at(segments, nearest, distances)

    def _proposed(
        self, segments: Sequence[Segment], queries: NDArray[np.float32], k: int, conditions: Sequence[Condition]
    ) -> _Proposed:
        top_k = self._finder(k + _MORE)
        asked = self._put(queries)
        limited = any(one != ANY for one in conditions) or any(one.live is not None for one in segments)
        windows: DeviceArray | None = None
        found = []
        for tile in self._tiles.of(segments, with_seen=limited):
            if limited and windows is None:
                windows = self._put(windows_of(conditions, tuple(self._tiles.cameras)))
            matches = top_k.find(asked, tile.embeddings, self._stream, _masks(tile, windows))
            entries, scores = np.empty(matches.entries.shape, np.int32), np.empty(matches.scores.shape, np.float32)
            self._kernels.cuda.download(entries, matches.entries.buffer, self._stream)
            self._kernels.cuda.download(scores, matches.scores.buffer, self._stream)
            self._stream.synchronize()
            found.append((entries.astype(np.int64) + tile.before, scores))
        rows, values = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        return _Proposed(rows, values, np.max([scores[:, -1] for _, scores in found], axis=0))

    def _finder(self, matches: int) -> TopK:
        if self._top_k is None or self._top_k.k != matches:
            self._top_k = TopK(self._kernels, _QUERIES, matches)
        return self._top_k

    def _put(self, array: NDArray[np.float32] | NDArray[np.float64]) -> DeviceArray:
        held = self._kernels.cuda.allocate(array.nbytes).view(array.shape, array.dtype)
        self._kernels.cuda.upload(held.buffer, np.ascontiguousarray(array), self._stream)
        return held


@dataclass(frozen=True, slots=True, eq=False)
class _Proposed:
    """What the device has found for queries.

    Attributes:
        rows: int64 [Q, n]: rows of the gallery, in no order.
        scores: float32 [Q, n]: their similarities; minus infinity for none.
        bound: float32 [Q]: no row that is not here has a higher score.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    bound: NDArray[np.float32]

    def decided(
        self, segments: Sequence[Segment], queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Return what `best_rows` does, and the queries of which that is not known, int64 [n]."""
        margin = 2 * product_error(queries.shape[1])
        limits = np.partition(self.scores.astype(np.float64), -k, axis=1)[:, -k] - margin
        unsure = np.flatnonzero((self.bound >= limits) & np.isfinite(self.bound))
        nearest, distances = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf)
        for query in np.setdiff1d(np.arange(len(queries)), unsure).tolist():
            near = (self.scores[query] >= limits[query]) & np.isfinite(self.scores[query])
            own = np.sort(self.rows[query, near])
            exact = exact_distances_to(segments, queries[query], own)
            best = np.argsort(exact, kind="stable")[:k]
            nearest[query, : len(best)], distances[query, : len(best)] = own[best], exact[best]
        return nearest, distances, unsure


def _masks(tile: DeviceTile, windows: DeviceArray | None) -> Conditions | None:
    if tile.camera is None or tile.time is None or windows is None:
        return None
    return Conditions(tile.camera, tile.time, windows)
