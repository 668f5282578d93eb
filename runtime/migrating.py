"""Another model for a store: its entries are embedded again, beside it, and take its place in one step.

While that goes on, nobody else may write to the store, and anybody may search it. What is embedded lies in
`STORE.migrating`; when it is whole, it is renamed to `STORE.before`, and then exchanged with the store. So whatever
interrupts it, the store is there, as it was or migrated, and what was embedded is not embedded again, unless the store
has another entry of that name by now. The way back begins with a copy of `STORE.before`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, compress, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.appending import in_pieces
from reid.runtime.embedding import Embedded, embed
from reid.runtime.errors import DataError
from reid.runtime.files.publishing import copy_access
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.store.columns import Texts, id_hashes
from reid.runtime.galleries.store.manifest import MANIFEST_FILE
from reid.runtime.galleries.store.reordering import move_to_end
from reid.runtime.galleries.store.segment import PIECE
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.store_folder import is_stored
from reid.runtime.kept_pictures import KeptPictures, why_missing
from reid.runtime.marks import Marks, is_among, read_counterparts, write_counterparts
from reid.runtime.migration_places import Places
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet

__all__ = ["Migrated", "migrate"]


@dataclass(frozen=True, slots=True)
class Migrated:
    """What came of a migration.

    Attributes:
        embedded: the entries that were embedded.
        known: those that had been embedded before, by a migration that was interrupted, or is taken back.
        by_one_picture: those of the embedded ones that were made of several frames, and now of one picture.
        entries: the entries that the gallery has now.
        missing: the entries that were left out, with the reason.
        unreadable: the names of the frames that were left out, with the reason.
        before: the folder of the gallery as it was; None where it was of this model already.
    """

    embedded: int
    known: int
    by_one_picture: int
    entries: int
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]
    before: Path | None


def migrate(session: Session, gallery: Path, *, skip_missing: bool = False, progress: Progress = SILENT) -> Migrated:
    """Embed the entries of a store again, from their pictures, for a model; nothing is done if they are of it already.

    Args:
        session: the model.
        gallery: the store's folder. As it was, it is kept as `STORE.before`.
        skip_missing: whether entries without a picture that can be read are left out.
        progress: follows two stages, the pictures that are looked for and the entries.

    Raises:
        DataError: pictures are missing, before any work; or cannot be read, and the store is as it was; it cannot be
            replaced; or there is something else in the places beside it.
        OSError: the disk is full, or fails; the store is as it was.
    """
    places = Places.of(gallery)
    places.mend()
    with Store.open(places.store, write=True) as store:
        if store.space == session.info.space:
            return Migrated(0, len(store), 0, len(store), (), (), None)
        places.check(store, session.info.space)
        with _begun(places.beside, session.info.space, store) as new:
            found = _Migration(session, store, new, progress).run(skip_missing=skip_missing)
            places.switch()
    return replace(found, before=places.before)


def _begun(folder: Path, space: Space, store: Store) -> Store:
    """Open the store that a migration fills, which is made where there is none."""
    if is_stored(folder):
        return Store.open(folder, space, write=True)
    new = Store.create(folder, space, storage=store.storage)
    copy_access(store.path, folder)
    return new


class _Migration:
    """From the entries of one store to those of another."""

    def __init__(self, session: Session, old: Store, new: Store, progress: Progress) -> None:
        self._session, self._old, self._new, self._progress = session, old, new, progress
        self._marks = Marks.of(old)
        self._pictures = KeptPictures()
        self._missing: dict[str, str] = {}  # id -> reason
        self._unreadable: list[str] = []
        self._waiting: dict[str, tuple[Entry, bool]] = {}  # id -> entry, and whether it is of one picture now
        self._by_one_picture = 0

    def run(self, *, skip_missing: bool) -> Migrated:
        """Embed what the new store lacks, and take out of it what the old one has no more."""
        lacking = self._without_stale()
        known = len(self._new)
        self._look_for_pictures(lacking, skip_missing=skip_missing)
        self._embed(lacking)
        self._check(skip_missing=skip_missing)
        self._put_in_order()
        write_counterparts(self._old.path, Marks.of(self._new))  # for the way back
        self._give_access()
        entries = len(self._new)
        texts = tuple(self._missing.values()), tuple(self._unreadable)
        return Migrated(entries - known, known, self._by_one_picture, entries, *texts, None)

    def _without_stale(self) -> NDArray[np.bool_]:
        """Remove what stands for no entry of the old store; return which of its entries have none, bool [N]."""
        there = np.concatenate([np.empty(0, np.uint64), *map(_ids_of, self._new.entries())])
        known = is_among(self._marks.contents, read_counterparts(self._new.path)) & is_among(self._marks.ids, there)
        stale = ~is_among(there, self._marks.ids[known])
        entries = chain.from_iterable(self._new.entries())
        if gone := [entry.id for entry in compress(entries, stale)]:
            self._new.remove(gone)
        write_counterparts(self._new.path, self._marks)
        return ~known

    def _entries(self, which: NDArray[np.bool_]) -> Iterator[Entry]:
        return compress(chain.from_iterable(self._old.entries()), which)

    def _look_for_pictures(self, lacking: NDArray[np.bool_], *, skip_missing: bool) -> None:
        self._progress.begin("looking for pictures", int(lacking.sum()), "entries")
        for entry in self._entries(lacking):
            if reason := why_missing(entry):
                self._missing[entry.id] = reason
            self._progress.advance()
        if not skip_missing:
            self._refuse_missing()

    def _refuse_missing(self) -> None:
        for first in self._missing.values():
            raise DataError(
                f"{len(self._missing):,} of {len(self._old):,} entries of {self._old.path} have no picture that can be "
                f"read: {first}; bring them back, or leave these entries out with --skip-missing"
            )

    def _embed(self, lacking: NDArray[np.bool_]) -> None:
        self._progress.begin("embedding", int(lacking.sum()) - len(self._missing), "entries")
        embedded = self._embedded(embed(self._session, self._tracklets(lacking)))
        for entries, embeddings in in_pieces(embedded, self._unreadable):
            self._new.add([self._migrated(entry) for entry in entries], embeddings)

    def _tracklets(self, lacking: NDArray[np.bool_]) -> Iterator[Tracklet]:
        for entry in self._entries(lacking):
            if entry.id not in self._missing:
                frames = self._pictures.frames_of(entry)
                self._waiting[entry.id] = entry, len(frames) == 1 < entry.frames
                yield Tracklet(entry.id, frames)

    def _embedded(self, embedded: Iterator[Embedded]) -> Iterator[Embedded]:
        for one in embedded:
            self._progress.advance()
            if one.embedding is None:
                self._missing[one.tracklet.id] = one.unreadable[0].reason
                del self._waiting[one.tracklet.id]
            yield one

    def _migrated(self, made: Entry) -> Entry:
        """Return an entry as the old store has it, with the number of frames that it was made of now."""
        entry, by_one_picture = self._waiting.pop(made.id)
        self._by_one_picture += by_one_picture
        return replace(entry, frames=made.frames)

    def _check(self, *, skip_missing: bool) -> None:
        if not skip_missing or not len(self._new):
            self._refuse_missing()
        if (entries := len(self._new) + len(self._missing)) != len(self._old):
            raise DataError(
                f"{self._new.path} has {entries:,} of {len(self._old):,} entries; remove it and begin again"
            )

    def _put_in_order(self) -> None:
        """Give the new store the order of the old one: what could not be read at first has come last."""
        ids = np.concatenate([np.empty(0, np.uint64), *map(_ids_of, self._new.entries())])
        there = is_among(self._marks.ids, ids)
        if (wrong := np.flatnonzero(ids != self._marks.ids[there])).size:
            entries = islice(self._entries(there), int(wrong[0]), None)
            move_to_end(self._new, iter(lambda: [entry.id for entry in islice(entries, PIECE)], []))

    def _give_access(self) -> None:
        """Let whoever may use the old store use the new one."""
        copy_access(self._old.path, self._new.path)
        for path in self._new.path.iterdir():
            if path.stat().st_nlink == 1:  # a link is of the store before, and has its access
                copy_access(self._old.path / MANIFEST_FILE, path)


def _ids_of(entries: list[Entry]) -> NDArray[np.uint64]:
    return id_hashes(Texts.of([entry.id for entry in entries]))
