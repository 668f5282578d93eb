"""A gallery in a folder of LanceDB's, with labels, and crops if asked, beside the embeddings.

LanceDB keeps no checksums, so what changes on disk behind its back may go unseen, which it does not in a `Store`. Its
changes are there as a whole or not at all when a process is killed.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.files.storage import atomic_directory
from reid.runtime.galleries.comparable import check_space
from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.lance.filters import has_id
from reid.runtime.galleries.lance.indexing import Recall, index_ids, index_nearest, is_indexed, measured_recall
from reid.runtime.galleries.lance.library import one_line_errors
from reid.runtime.galleries.lance.rows import LABELS, as_table, embeddings_of, entries_of
from reid.runtime.galleries.lance.search import best_rows, found, near_rows, numbers_of, scan, take
from reid.runtime.galleries.lance.table import REMEDY, Card, flush, is_table, make_table, open_table, path_of, unmake
from reid.runtime.galleries.lance.texts import from_stored
from reid.runtime.galleries.protocol import Found, Kind
from reid.runtime.galleries.store.checking import check_entries, checked_embeddings, checked_queries
from reid.runtime.galleries.store.lock import WriterLock
from reid.runtime.space import Space

__all__ = ["LanceGallery"]

T = TypeVar("T")

_IDS = 16384
"""Ids that are looked for together, in one pass where there is no index: each takes some kilobytes meanwhile."""

_NOW = timedelta(milliseconds=1)  # 0 means the same, and warns


class LanceGallery:
    """A gallery in LanceDB; a `reid.runtime.galleries.protocol.GrowingGallery`.

    A reader sees the gallery as it was when it was opened, or at the last `refresh()`.

    Attributes:
        path: the folder.
        probes: how many parts of the index a search looks into; None to search exactly.
    """

    def __init__(self, path: Path, lock: WriterLock | None, probes: int | None) -> None:
        """Use `LanceGallery.create` or `LanceGallery.open`."""
        self.path, self.probes = path, probes
        self._lock = lock
        self._turn = threading.RLock()
        self._flushed: set[str] = set()
        self._opened: tuple[Any, Card] | None = open_table(path)

    @classmethod
    def create(cls, uri: str | os.PathLike[str], space: Space, *, crops: bool = False) -> LanceGallery:
        """Make an empty gallery and open it for writing.

        Args:
            uri: `lance://FOLDER`; the folder is absent or empty.
            space: the space of its embeddings.
            crops: whether to keep the pictures of entries themselves, too, for when their files are gone.

        Raises:
            ReidError: there is something else, or the folder cannot be made.
        """
        path, _ = path_of(uri)
        card = Card(fingerprint=space.fingerprint, precision=space.precision, dimensions=space.dimensions, crops=crops)
        with atomic_directory(path, records=None) as partial:
            make_table(partial, card)
        return cls.open(path, write=True)

    @classmethod
    def open(cls, uri: str | os.PathLike[str], space: Space | None = None, *, write: bool = False) -> LanceGallery:
        """Open a gallery.

        Args:
            uri: `lance://FOLDER`, or `lance://FOLDER?probes=20` to search with the index.
            space: the space of what it will be searched with, or get; None to take it as it is.
            write: whether to change it: only one may at a time.

        Raises:
            DataError: there is none, it is damaged, another process writes to it, or it has no index to search with.
            ModelError: another model embedded it, or the same model in another precision.
        """
        path, probes = path_of(uri)
        is_gallery = is_table(path)
        lock = WriterLock(path) if write and is_gallery else None
        try:
            gallery = cls(path, lock, probes)
            if space is not None:
                check_space(path, gallery.space, space)
            if probes is not None and not gallery.is_indexed:
                raise DataError(f"{path} has no index; search it exactly, without ?probes={probes}, or index it")
        except BaseException:
            if lock:
                lock.release()
            raise
        return gallery

    @staticmethod
    def exists(uri: str | os.PathLike[str]) -> bool:
        """Return whether there is a gallery: also one that `open` has to refuse."""
        return is_table(path_of(uri)[0])

    @property
    def space(self) -> Space:
        """The space of the embeddings."""
        return self._now[1].space

    @property
    def keeps_crops(self) -> bool:
        """Whether it keeps the pictures themselves."""
        return self._now[1].crops

    @property
    def is_indexed(self) -> bool:
        """Whether it has an index to search with."""
        with self._reading() as table:
            return is_indexed(table)

    @property
    def kind(self) -> Kind | None:
        """What it holds; None where the frames of an entry are not known, and no entry has several."""
        with self._reading() as table:
            if table.count_rows("frames > 1"):
                return "tracklets"
            return "images" if table.count_rows() and not table.count_rows("frames = 0") else None

    def __len__(self) -> int:
        """Return the number of entries."""
        with self._reading() as table:
            return int(table.count_rows())

    def entries(self) -> Iterator[list[Entry]]:
        """Yield what `batches` does, without embeddings, which are not read."""
        return self._each(LABELS, entries_of)

    def batches(self) -> Iterator[tuple[list[Entry], NDArray[np.float32]]]:
        """Yield all entries in their order, some thousand at a time, with their embeddings, float32 [n, D].

        Meanwhile, a number for each entry is held in memory.
        """
        dimensions = self.space.dimensions
        return self._each([*LABELS, "embedding"], lambda rows: (entries_of(rows), embeddings_of(rows, dimensions)))

    def crops(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Return the pictures of those of these entries of which one is kept, by id."""
        if not self.keeps_crops:
            return {}
        with self._reading() as table:
            return {
                from_stored(identity): crop
                for some in _pieces(ids)
                for batch in scan(table, ["id", "crop"], f"crop IS NOT NULL AND {has_id(some)}")
                for identity, crop in zip(batch["id"].to_pylist(), batch["crop"].to_pylist(), strict=True)
            }

    def search(
        self, embeddings: NDArray[np.float32], k: int, conditions: Sequence[Condition] | None = None
    ) -> list[tuple[Found, ...]]:
        """Return the best k entries for each query, best first, ties in the order in which they were added.

        With `probes`, some of the best may be missing; those that are there have the scores of an exact search.

        Args:
            embeddings: float32 [Q, D], L2-normalized, of the gallery's space.
            k: matches per query, at least 1.
            conditions: what each query's matches must be; None for any.

        Raises:
            DataError: the embeddings cannot be used, or what is read of the gallery is damaged.
        """
        queries, conditions = checked_queries(embeddings, self.space.dimensions, k, conditions)
        k = min(k, len(self))
        if not k or not len(queries):
            return [()] * len(queries)
        with self._reading() as table:
            if self.probes is None:
                return found(table, *best_rows(table, queries, k, conditions))
            return found(table, *near_rows(table, queries, k, conditions, self.probes))

    def refresh(self) -> bool:
        """See what a writer has done since; return whether it did anything."""
        with self._turn, self._reading() as table:
            before = table.version
            table.checkout_latest()
            return bool(table.version != before)

    def contains(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these ids it has, bool [N]."""
        with self._reading() as table:
            there = _known(table, ids)
            return np.array([identity in there for identity in ids], np.bool_)

    def add(self, entries: Sequence[Entry], embeddings: NDArray[np.float32]) -> None:
        """Add entries, all or none; they are on disk when it returns.

        Args:
            entries: the N entries, whose ids are new to the gallery.
            embeddings: float32 [N, D], L2-normalized, of the gallery's space.

        Raises:
            DataError: an entry or an embedding cannot be used, the gallery is open for reading, its folder was
                replaced, or the disk is full.
        """
        with self._changing() as table:
            checked = checked_embeddings(embeddings, self.space.dimensions)
            check_entries(entries, len(checked))
            if there := _known(table, [entry.id for entry in entries]):
                name = next(entry.id for entry in entries if entry.id in there)
                raise DataError(f"there is an entry {name!r} already: remove it first, or give each an id of its own")
            if entries:
                table.add(as_table(entries, checked, table.schema))

    def remove(self, ids: Iterable[str]) -> int:
        """Remove entries; ids that are not there do not matter. Return how many there were. Raises as `add` does."""
        if isinstance(ids, str):
            raise TypeError(f"ids are {ids!r}; give a list of ids")
        with self._changing() as table:
            gone = _known(table, ids)
            if gone:
                table.delete(has_id(gone))  # in one statement: all or none
            return len(gone)

    def compact(self) -> None:
        """Write what many changes left into few files, and give back what removed entries and older versions take.

        Ids are found faster afterwards, too. Who has the gallery open for reading opens it again. Raises as `add` does.
        """
        with self._changing() as table:
            index_ids(table)
            table.optimize(cleanup_older_than=_NOW, delete_unverified=True)  # no other writer has the lock

    def index(self, probes: int = 20, k: int = 10) -> Recall:
        """Build an index of all embeddings, for `lance://FOLDER?probes=N`, and measure what it finds.

        Entries that are added later are compared one by one, until `compact` puts them into the index.

        Args:
            probes: the parts of the index to look into for the measurement.
            k: entries per query.

        Raises:
            DataError: as `add` does; or LanceDB cannot index so few entries, or dimensions that are no multiple of 8.
        """
        with self._changing("search it exactly, or add more entries first") as table:
            index_nearest(table)
            return measured_recall(table, self.space.dimensions, probes, k)

    def drop(self) -> None:
        """Remove the gallery, with everything in its folder that is its own, and close it."""
        with self._turn:
            if self._lock is None or not self._lock.held:
                raise DataError(f"{self.path} is open for reading; open it for writing to remove it")
            self._lock.check()
            unmake(self.path)
            self.close()

    def close(self) -> None:
        """Let others write; what is closed cannot be used."""
        with self._turn:
            self._opened = None
            if self._lock:
                self._lock.release()

    def __enter__(self) -> LanceGallery:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def _now(self) -> tuple[Any, Card]:
        if self._opened is None:
            raise ValueError(f"{self.path} is closed; open it again")
        return self._opened

    def _each(self, columns: list[str], made_of: Callable[[Any], T]) -> Iterator[T]:
        """Yield what is made of all rows in their order, some thousand at a time."""
        with self._reading() as table:
            numbers = [numbers_of(batch) for batch in scan(table, ["frames"])]
            rows = np.sort(np.concatenate([np.empty(0, np.int64), *numbers]))
            yield from map(made_of, take(table, rows, columns))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Any]:
        """Yield the table to read."""
        table, _ = self._now
        with one_line_errors(self.path, f"open it again if it was compacted meanwhile; else {REMEDY}"):
            yield table

    @contextlib.contextmanager
    def _changing(self, remedy: str = "free space on its disk if that is full") -> Iterator[Any]:
        """Yield the table to change; what was changed is on disk when the block has ended."""
        with self._turn:
            table, _ = self._now
            if self._lock is None or not self._lock.held:
                raise DataError(f"{self.path} is open for reading; open it for writing to change it")
            self._lock.check()
            with one_line_errors(self.path, f"its entries are as they were; {remedy}"):
                yield table
            with one_line_errors(self.path, "what was changed may not outlast a loss of power"):
                flush(self.path, self._flushed)


def _known(table: Any, ids: Iterable[str]) -> set[str]:  # noqa: ANN401 - a table of LanceDB
    """Return which of these ids a table has."""
    batches = (batch for some in _pieces(ids) for batch in scan(table, ["id"], has_id(some)))
    return {from_stored(identity) for batch in batches for identity in batch.column("id").to_pylist()}


def _pieces(ids: Iterable[str]) -> Iterator[Sequence[str]]:
    asked = list(ids)
    return (asked[start : start + _IDS] for start in range(0, len(asked), _IDS))
