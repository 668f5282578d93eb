"""A gallery in memory: of crops that were just embedded, or of a saved file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.embedding import Embedded
from reid.runtime.errors import DataError
from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry, entry_of
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing, distance_blocks
from reid.runtime.galleries.protocol import Found, Gallery, Kind
from reid.runtime.galleries.ranking import DistanceBlock, nearest_of
from reid.runtime.galleries.saved import Saved, damaged, read_saved, write_saved
from reid.runtime.galleries.store.checking import check_entries, checked_embeddings, checked_queries
from reid.runtime.galleries.store.filtering import allowed_rows
from reid.runtime.space import Space

__all__ = ["MemoryGallery"]

_PIECE = 4096
"""Entries of a batch."""


@dataclass(frozen=True, eq=False)
class MemoryGallery:
    """Entries and their embeddings; a `reid.Gallery`. They are checked once: when it is made.

    Attributes:
        members: the N entries.
        embeddings: float32 [N, D], L2-normalized.
        space: the space of the embeddings.
        kind: "tracklets" where any of them was embedded from several frames; what is given counts where the entries do
            not say it.
    """

    members: tuple[Entry, ...]
    embeddings: NDArray[np.float32]
    space: Space
    kind: Kind | None = None

    def __post_init__(self) -> None:
        checked = checked_embeddings(self.embeddings, self.space.dimensions)
        check_entries(self.members, len(checked))
        object.__setattr__(self, "embeddings", checked)
        object.__setattr__(self, "kind", _kind_of(entry.frames for entry in self.members) or self.kind)

    @classmethod
    def collect(cls, embedded: Iterable[Embedded], space: Space) -> MemoryGallery:
        """Gather embedded tracklets; those without a readable frame are left out.

        Raises:
            DataError: none is left, or two have the same id.
        """
        entries, embeddings, reason = [], [], ""
        for one in embedded:
            if one.embedding is not None:
                entries.append(entry_of(one.tracklet, {failure.frame_index for failure in one.unreadable}))
                embeddings.append(one.embedding)
            else:
                reason = reason or f": {one.unreadable[0].reason}"
        if not entries:
            raise DataError(f"no image of the gallery can be read{reason}")
        return cls(tuple(entries), np.stack(embeddings), space)

    @classmethod
    def open(cls, path: str | os.PathLike[str], space: Space | None = None) -> MemoryGallery:
        """Read a saved gallery.

        Args:
            path: the file.
            space: the space of what it will be searched with; None to take it as it is.

        Raises:
            DataError: not a gallery, or damaged.
            ModelError: another model embedded it, or the same model in another precision.
        """
        saved = read_saved(Path(path), space)
        try:
            return cls(saved.entries, saved.embeddings, saved.space, saved.kind)
        except DataError as error:
            raise damaged(Path(path), error) from None

    @classmethod
    def of(cls, gallery: Gallery) -> MemoryGallery:
        """Return a gallery with everything in memory."""
        if isinstance(gallery, MemoryGallery):
            return gallery
        entries: list[Entry] = []
        embeddings = [np.empty((0, gallery.space.dimensions), np.float32)]
        for some, piece in gallery.batches():
            entries.extend(some)
            embeddings.append(piece)
        return MemoryGallery(tuple(entries), np.concatenate(embeddings), gallery.space, gallery.kind)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.members)

    def entries(self) -> Iterator[Sequence[Entry]]:
        """Yield what `batches` does, without embeddings."""
        return (entries for entries, _ in self.batches())

    def batches(self) -> Iterator[tuple[Sequence[Entry], NDArray[np.float32]]]:
        """Yield all entries in their order, some thousand at a time, with their embeddings, float32 [n, D]."""
        for start in range(0, len(self), _PIECE):
            rows = slice(start, start + _PIECE)
            yield self.members[rows], self.embeddings[rows]

    def search(
        self,
        embeddings: NDArray[np.float32],
        k: int,
        conditions: Sequence[Condition] | None = None,
        post_processing: PostProcessing = PLAIN,
    ) -> list[tuple[Found, ...]]:
        """Return the best k entries for each query, best first, ties in the order of the entries.

        Args:
            embeddings: float32 [Q, D], L2-normalized, of the gallery's space.
            k: matches per query, at least 1.
            conditions: what each query's matches must be; None for any.
            post_processing: what is done before the ranking, with all entries: conditions only say what may be a match.

        Raises:
            DataError: the embeddings cannot be used.
        """
        queries, conditions = checked_queries(embeddings, self.space.dimensions, k, conditions)
        blocks = self._allowed(distance_blocks(queries, self.embeddings, post_processing), conditions)
        rows, scores = nearest_of(blocks, (len(queries), len(self)), k)
        return [
            tuple(Found(self.members[row], score) for row, score in zip(*pair, strict=True) if row >= 0)
            for pair in zip(rows.tolist(), scores.tolist(), strict=True)
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the gallery to one .npz file, whole or absent. Pictures stay where they are; their paths are stored."""
        write_saved(Path(path), Saved(self.members, self.embeddings, self.space, self.kind))

    def close(self) -> None:
        """Do nothing: it holds nothing but memory."""

    def _allowed(self, blocks: Iterable[DistanceBlock], conditions: Sequence[Condition]) -> Iterator[DistanceBlock]:
        """Yield blocks in which what a query's condition does not allow is infinitely far."""
        start = 0
        for block in blocks:
            own = conditions[start : (start := start + len(block))]
            if (allowed := allowed_rows(self._seen, 0, len(self), own)) is not None:
                np.copyto(block.values, np.inf, where=~allowed)
            yield block

    @cached_property
    def _seen(self) -> _Seen:
        cameras = tuple(sorted({entry.camera for entry in self.members if entry.camera is not None}))
        numbers: dict[str | None, int] = {None: -1, **{camera: number for number, camera in enumerate(cameras)}}
        times = [np.nan if entry.time_s is None else entry.time_s for entry in self.members]
        return _Seen(
            cameras, np.array([numbers[entry.camera] for entry in self.members], np.int32), np.array(times, np.float64)
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """Where and when the entries were seen.

    Attributes:
        cameras: the names of cameras.
        numbers: int32 [N]: each entry's camera, as a position in `cameras`; -1 where it is not known.
        times: float64 [N]; NaN where a time is not known.
        live: None: all of them count.
    """

    cameras: tuple[str, ...]
    numbers: NDArray[np.int32]
    times: NDArray[np.float64]
    live: None = None

    def camera(self, start: int, stop: int) -> NDArray[np.int32]:
        return self.numbers[start:stop]

    def time_s(self, start: int, stop: int) -> NDArray[np.float64]:
        return self.times[start:stop]


def _kind_of(frames: Iterable[int]) -> Kind | None:
    """Return what a gallery holds, by the frames of its entries, 0 where that is not known."""
    numbers = set(frames)
    if max(numbers, default=0) > 1:
        return "tracklets"
    return "images" if numbers == {1} else None
