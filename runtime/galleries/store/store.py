"""Our own gallery: a folder that one process writes to and any number reads.

Everything that is added, removed, compacted or merged is there as a whole or not at all, whatever interrupts it, and
outlasts a loss of power once the call has returned. What is read from disk is checked where it is first used. Writer
and readers are on one machine, and the folder is on a local disk.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.files.storage import atomic_directory, clear_abandoned
from reid.runtime.galleries.comparable import check_space
from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.protocol import Found, Kind
from reid.runtime.galleries.store.checking import check_absent, check_entries, checked_embeddings, checked_queries
from reid.runtime.galleries.store.columns import Columns, Texts
from reid.runtime.galleries.store.compaction import is_compact, kept_before
from reid.runtime.galleries.store.kinds import kind_of
from reid.runtime.galleries.store.lock import WriterLock
from reid.runtime.galleries.store.manifest import (
    FORMAT_VERSION,
    Manifest,
    SegmentRecord,
    Storage,
    read_manifest,
    write_manifest,
)
from reid.runtime.galleries.store.merging import check_ids_apart, pieces_of
from reid.runtime.galleries.store.numbers import as_float32
from reid.runtime.galleries.store.removal import records_without
from reid.runtime.galleries.store.search import found_in
from reid.runtime.galleries.store.segment import Segment
from reid.runtime.galleries.store.snapshot import Snapshot
from reid.runtime.galleries.store.verification import problems
from reid.runtime.galleries.store.writing import clear_leftovers, commit, write_segment
from reid.runtime.progress import SILENT, Progress
from reid.runtime.space import Space

__all__ = ["Store"]

_Pieces: TypeAlias = Iterable[tuple[NDArray[Any], Columns]]


class Store:
    """A gallery in a folder; a `reid.runtime.galleries.protocol.GrowingGallery`.

    A reader sees the gallery as it was when it was opened, or at the last `refresh()`. Several threads may use one
    store: a search sees what was there when it began, and changes take turns.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, lock: WriterLock | None) -> None:
        """Use `Store.create` or `Store.open`."""
        self.path = path
        self._lock = lock
        self._turn = threading.RLock()
        self._moment: Snapshot | None = Snapshot.open(path)

    @classmethod
    def create(cls, path: str | os.PathLike[str], space: Space, *, storage: Storage = "fp32") -> Store:
        """Make an empty gallery and open it for writing.

        Args:
            path: the folder, which is absent or empty.
            space: the space of its embeddings.
            storage: how their numbers are stored. FP16 halves the size; it moves a score by less than 0.001.

        Raises:
            ReidError: there is something else, or the folder cannot be made.
        """
        facts = {"fingerprint": space.fingerprint, "precision": space.precision, "dimensions": space.dimensions}
        manifest = Manifest.model_validate({"format_version": FORMAT_VERSION, **facts, "storage": storage})
        with atomic_directory(Path(path), records=None) as partial:
            write_manifest(partial, manifest)
        return cls.open(path, write=True)

    @classmethod
    def open(cls, path: str | os.PathLike[str], space: Space | None = None, *, write: bool = False) -> Store:
        """Open a gallery.

        Args:
            path: the folder.
            space: the space of what it will be searched with, or get; None to take it as it is.
            write: whether to change it: only one may at a time.

        Raises:
            DataError: there is none, it is damaged, or another process writes to it.
            ModelError: another model embedded it, or the same model in another precision.
        """
        folder = Path(path)
        found = read_manifest(folder).space  # before the lock, which makes a file
        if space is not None:
            check_space(folder, found, space)
        lock = WriterLock(folder) if write else None
        try:
            store = cls(folder, lock)
            if space is not None:
                check_space(folder, store.space, space)  # a migration may have come between
            if write:
                clear_leftovers(folder, store._now.manifest)
                clear_abandoned(folder)  # what is left where it was made, if that was killed
        except BaseException:
            if lock:
                lock.release()
            raise
        return store

    @property
    def space(self) -> Space:
        """The space of the embeddings."""
        return self._now.manifest.space

    @property
    def storage(self) -> Storage:
        """How the numbers of embeddings are stored."""
        return self._now.manifest.storage

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, as they are now: for what computes with stored embeddings."""
        return self._now.segments

    @property
    def kind(self) -> Kind | None:
        """What it holds, by the frames of all its entries, which are read; None where not all are known."""
        return kind_of(self._now)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._now)

    def contains(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these ids it has, bool [N]. Raises DataError where what is read is damaged."""
        there = np.zeros(len(ids), np.bool_)
        for rows in self._now.find(Texts.of(ids)):
            there |= rows >= 0
        return there

    def entries(self) -> Iterator[list[Entry]]:
        """Yield what `batches` does, without embeddings, which are not read."""
        for segment in self._now.segments:
            for columns in segment.entries():
                yield columns.entries()

    def batches(self) -> Iterator[tuple[list[Entry], NDArray[np.float32]]]:
        """Yield all entries in their order, some thousand at a time, with their embeddings, float32 [n, D]."""
        for segment in self._now.segments:
            for embeddings, columns in segment.pieces():
                yield columns.entries(), as_float32(embeddings)

    def search(
        self, embeddings: NDArray[np.float32], k: int, conditions: Sequence[Condition] | None = None
    ) -> list[tuple[Found, ...]]:
        """Return the best k entries for each query, best first, ties in the order in which they were added.

        Args:
            embeddings: float32 [Q, D], L2-normalized, of the gallery's space.
            k: matches per query, at least 1.
            conditions: what each query's matches must be; None for any.

        Raises:
            DataError: the embeddings cannot be used, or what is read of the gallery is damaged.
        """
        now = self._now
        queries, conditions = checked_queries(embeddings, now.manifest.dimensions, k, conditions)
        return found_in(now.segments, queries, min(k, len(now)), conditions)

    def refresh(self) -> bool:
        """See what a writer has done since; return whether it did anything.

        Raises:
            DataError: as `open` does.
            ModelError: it was migrated to another model meanwhile; this store goes on with what it was.
        """
        with self._turn:
            before, now = self._now, Snapshot.open(self.path, self._now)
            check_space(self.path, now.manifest.space, before.manifest.space)
            self._moment = now
            return now is not before

    def add(self, entries: Sequence[Entry], embeddings: NDArray[np.float32]) -> None:
        """Add entries, all or none; they are on disk when it returns.

        Args:
            entries: the N entries, whose ids are new to the gallery.
            embeddings: float32 [N, D], L2-normalized, of the gallery's space.

        Raises:
            DataError: an entry or an embedding cannot be used, the gallery is open for reading, or its folder was
                replaced.
            OSError: the disk is full, or fails; the gallery is as it was, or, where only the last flush to disk failed,
                as it should be: this store then shows which. One that cannot even be read counts as closed.
        """
        with self._change() as now:
            checked = checked_embeddings(embeddings, now.manifest.dimensions)
            check_entries(entries, len(checked))
            columns = Columns.of(entries)
            check_absent([now], columns.ids)
            self._append(now, [(checked, columns)], len(entries))

    def remove(self, ids: Iterable[str]) -> int:
        """Remove entries; ids that are not there do not matter. Return how many there were. Raises as `add` does."""
        if isinstance(ids, str):
            raise TypeError(f"ids are {ids!r}; give a list of ids")
        with self._change() as now:
            records = records_without(self.path, now, ids)
            if records != now.manifest.segments:
                self._commit(now, records)
            return len(now) - len(self._now)

    def compact(self, progress: Progress = SILENT) -> None:
        """Write all entries into one segment, without what was removed: what takes part of a disk is given back.

        Raises as `add` does; needs room for a second copy while it works. `progress` follows one stage, the entries.
        """
        with self._change() as now:
            if not is_compact(now.manifest):
                pieces = chain.from_iterable(segment.pieces() for segment in now.segments)
                followed = _followed(pieces, "compacting", len(now), progress)
                self._commit(now, (write_segment(self.path, followed, now.manifest),))

    def merge(self, others: Sequence[Store], progress: Progress = SILENT) -> None:
        """Add the entries of other galleries, all or none, in their order; `progress` follows one stage, the entries.

        Raises:
            DataError: as `add` does; also where two of the galleries have an entry of the same id.
            ModelError: a gallery is of another space.
            OSError: as `add` does.
        """
        with self._change() as now:
            moments = [other._now for other in others]
            for other, moment in zip(others, moments, strict=True):
                check_space(other.path, moment.manifest.space, now.manifest.space)
            check_ids_apart([now, *moments])
            rows = sum(map(len, moments))
            self._append(now, _followed(pieces_of(moments), "merging", rows, progress), rows)

    def verify(self, progress: Progress = SILENT) -> list[str]:
        """Read everything again and return what is wrong, in a sentence each; nothing where all is well.

        `progress` follows two stages, what is read and the entries.
        """
        return list(problems(self._now, progress))

    def close(self) -> None:
        """Let others write; what is closed cannot be used."""
        with self._turn:
            self._moment = None
            if self._lock:
                self._lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def _now(self) -> Snapshot:
        if self._moment is None:
            raise ValueError(f"{self.path} is closed; open it again")
        return self._moment

    @contextlib.contextmanager
    def _change(self) -> Iterator[Snapshot]:
        """Yield the gallery to change; where that fails, find out what is on disk and remove what was begun."""
        with self._turn:
            if self._lock is None or not self._lock.held:
                raise DataError(f"{self.path} is open for reading; open it for writing to change it")
            self._lock.check()
            try:
                yield self._now
            except BaseException:
                with contextlib.suppress(OSError, DataError):
                    self._lock.check()  # else it is another's folder, and no leftovers of ours
                    self._find_out()
                raise

    def _find_out(self) -> None:
        """See what is on disk after a change that failed, and remove what was begun."""
        try:
            self._moment = Snapshot.open(self.path, self._now)
        except BaseException:
            self._moment = None  # what it was may not be what it is
            raise
        clear_leftovers(self.path, self._moment.manifest)

    def _append(self, now: Snapshot, pieces: _Pieces, rows: int) -> None:
        if rows:
            kept = kept_before(now.manifest, rows)
            again = chain.from_iterable(segment.pieces() for segment in now.segments[kept:])
            record = write_segment(self.path, chain(again, pieces), now.manifest)
            self._commit(now, (*now.manifest.segments[:kept], record))

    def _commit(self, now: Snapshot, segments: tuple[SegmentRecord, ...]) -> None:
        assert self._lock
        self._lock.check()
        manifest = now.manifest.changed(segments)
        commit(self.path, manifest)
        self._moment = Snapshot.of(self.path, manifest, now)
        with contextlib.suppress(OSError):  # the next writer tries again
            clear_leftovers(self.path, manifest)


def _followed(pieces: _Pieces, stage: str, rows: int, progress: Progress) -> _Pieces:
    """Yield pieces, and count the entries that were taken."""
    progress.begin(stage, rows, "entries")
    for embeddings, columns in pieces:
        yield embeddings, columns
        progress.advance(len(embeddings))
