"""A store as `reid-infer` takes a gallery: the same rankings as the same embeddings in a saved file, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.embedding import Embedded
from reid.runtime.errors import DataError
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.gallery import Gallery, Kind, ranked
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.galleries.ranked_lists import Match, Ranking
from reid.runtime.galleries.store.segment import PIECE, Segment
from reid.runtime.galleries.store.store import Store
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet

__all__ = ["StoredGallery"]


class StoredGallery:
    """What a store holds, ranked as a `Gallery` is; neither entries nor embeddings are all in memory."""

    def __init__(self, store: Store) -> None:
        """Rank what a store holds; it stays the caller's to close."""
        self._store = store

    @classmethod
    def open(cls, path: Path, space: Space) -> StoredGallery:
        """Open a store to rank it for queries of a space.

        Raises:
            DataError: it is empty, or damaged.
            ModelError: another model embedded it, or the same model in another precision.
        """
        store = Store.open(path, space)
        if not len(store):
            raise DataError(f"{path} is empty; add crops to it with `reid-gallery append`")
        return cls(store)

    @property
    def space(self) -> Space:
        """The space of the embeddings."""
        return self._store.space

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._store)

    @property
    def kind(self) -> Kind | None:
        """What it holds, by the frames of all its entries, which are read; None where not all are known."""
        frames = np.concatenate([piece for segment in self._store.segments for piece in _frames(segment)])
        if frames.max() > 1:
            return "tracklets"
        return "images" if frames.min() else None

    def rank(
        self, queries: Iterable[Embedded], k: int, post_processing: PostProcessing = PLAIN, *, block: int = 256
    ) -> Iterator[Ranking]:
        """Yield what `Gallery.rank` does. Post-processing needs all embeddings, so these are then read into memory."""
        if post_processing != PLAIN:
            return self._in_memory().rank(queries, k, post_processing, block=block)

        def search(asked: NDArray[np.float32]) -> Iterator[tuple[Match, ...]]:
            for found in self._store.search(asked, k):
                yield tuple(Match(_tracklet(one.entry), one.score) for one in found)

        return ranked(queries, search, block)

    def _in_memory(self) -> Gallery:
        tracklets: list[Tracklet] = []
        embeddings: list[NDArray[np.float32]] = []
        for entries, piece in self._store.batches():
            tracklets += map(_tracklet, entries)
            embeddings.append(piece)
        return Gallery(tuple(tracklets), np.concatenate(embeddings), self.space)


def _frames(segment: Segment) -> Iterator[NDArray[np.int32]]:
    for start in range(0, segment.record.rows, PIECE):
        stop = min(start + PIECE, segment.record.rows)
        frames = segment.frames(start, stop)
        yield frames if segment.live is None else frames[segment.live[start:stop]]


def _tracklet(entry: Entry) -> Tracklet:
    """Return an entry as a tracklet that holds a picture of it only, as one of a saved file does."""
    return Tracklet(entry.id, (Path(entry.picture),), entry.camera, entry.vehicle)
