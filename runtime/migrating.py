"""Another model for a store: its entries are embedded again, beside it, and take its place in one step.

While that goes on, nobody else may write to the store, and anybody may search it. What is embedded lies in
`STORE.migrating`; when it is whole, it is renamed to `STORE.before`, and then exchanged with the store. So whatever
interrupts it, the store is there, as it was or migrated, and what was embedded is not embedded again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.appending import in_pieces
from reid.runtime.embedding import Embedded, embed
from reid.runtime.errors import DataError
from reid.runtime.files.publishing import exchange, finish_exchange, has_to_be_in_place
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.store.columns import Texts, id_hashes
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.store.writing import flush_folder
from reid.runtime.galleries.store_folder import is_stored
from reid.runtime.kept_pictures import KeptPictures, why_missing
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
        known: those that had been embedded before, by a migration that was interrupted.
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
    places = _Places.of(gallery)
    if is_stored(places.aside):
        finish_exchange(places.store, places.before, places.aside)
    with Store.open(places.store, write=True) as store:
        if store.space == session.info.space:
            return Migrated(0, len(store), 0, len(store), (), (), None)
        places.check(session.info.space)
        with _begun(places.beside, session.info.space, store) as new:
            found = _Migration(session, store, new, progress).run(skip_missing=skip_missing)
            places.switch()
    return replace(found, before=gallery.with_name(places.before.name))


@dataclass(frozen=True, slots=True)
class _Places:
    """Where everything is, in one folder: what is renamed stays on its file system."""

    store: Path
    beside: Path
    before: Path
    aside: Path

    @classmethod
    def of(cls, gallery: Path) -> _Places:
        real = Path(os.path.realpath(gallery))
        return cls(real, *(real.with_name(f"{real.name}.{end}") for end in ("migrating", "before", "replaced")))

    def check(self, space: Space) -> None:
        """Raise DataError where something is in the way; take up a migration that was whole but for the exchange."""
        if has_to_be_in_place(self.store):
            raise DataError(
                f"{self.store} cannot be replaced: it is a mount point, or where you are; copy it elsewhere"
            )
        if os.path.lexists(self.before):
            if self.beside.exists() or not is_stored(self.before) or _space_of(self.before) != space:
                raise DataError(f"{self.before} is there, of an earlier migration; remove it, or move it elsewhere")
            self.before.rename(self.beside)  # to go back to the model of before begins with what there was
        if os.path.lexists(self.beside) and (not is_stored(self.beside) or _space_of(self.beside) != space):
            raise DataError(f"{self.beside} is not of this model; go on with the one it was begun for, or remove it")

    def switch(self) -> None:
        """Let the new store take the place of the old one."""
        self.beside.rename(self.before)
        flush_folder(self.store.parent)
        exchange(self.store, self.before, self.aside)
        flush_folder(self.store.parent)


def _space_of(folder: Path) -> Space:
    with Store.open(folder) as store:
        return store.space


def _begun(folder: Path, space: Space, store: Store) -> Store:
    """Open the store that a migration fills, which is made where there is none."""
    if is_stored(folder):
        return Store.open(folder, space, write=True)
    return Store.create(folder, space, storage=store.storage)


class _Migration:
    """From the entries of one store to those of another."""

    def __init__(self, session: Session, old: Store, new: Store, progress: Progress) -> None:
        self._session, self._old, self._new, self._progress = session, old, new, progress
        self._pictures = KeptPictures()
        self._missing: dict[str, str] = {}  # id -> reason
        self._unreadable: list[str] = []
        self._waiting: dict[str, tuple[Entry, bool]] = {}  # id -> entry, and whether it is of one picture now
        self._by_one_picture = 0

    def run(self, *, skip_missing: bool) -> Migrated:
        """Embed what the new store lacks, and take out of it what the old one has no more."""
        self._remove_stale()
        known = len(self._new)
        marks = _marks(self._new)
        self._look_for_pictures(marks, skip_missing=skip_missing)
        self._embed(marks)
        self._check(skip_missing=skip_missing)
        entries = len(self._new)
        texts = tuple(self._missing.values()), tuple(self._unreadable)
        return Migrated(entries - known, known, self._by_one_picture, entries, *texts, None)

    def _remove_stale(self) -> None:
        marks, stale = _marks(self._old), []
        for entries in self._new.entries():
            gone = ~np.isin(_marks_of(entries), marks)
            stale += [entry.id for entry, is_gone in zip(entries, gone.tolist(), strict=True) if is_gone]
        if stale:
            self._new.remove(stale)

    def _lacking(self, marks: NDArray[np.uint64]) -> Iterator[Entry]:
        for entries in self._old.entries():
            known = np.isin(_marks_of(entries), marks)
            yield from (entry for entry, is_known in zip(entries, known.tolist(), strict=True) if not is_known)

    def _look_for_pictures(self, marks: NDArray[np.uint64], *, skip_missing: bool) -> None:
        self._progress.begin("looking for pictures", len(self._old) - len(marks), "entries")
        for entry in self._lacking(marks):
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

    def _embed(self, marks: NDArray[np.uint64]) -> None:
        self._progress.begin("embedding", len(self._old) - len(marks) - len(self._missing), "entries")
        embedded = self._embedded(embed(self._session, self._tracklets(marks)))
        for entries, embeddings in in_pieces(embedded, self._unreadable):
            self._new.add([self._migrated(entry) for entry in entries], embeddings)

    def _tracklets(self, marks: NDArray[np.uint64]) -> Iterator[Tracklet]:
        for entry in self._lacking(marks):
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


def _marks(store: Store) -> NDArray[np.uint64]:
    """Return a number for each entry that tells all that a migration leaves as it is, uint64 [N]."""
    return np.concatenate([np.empty(0, np.uint64), *map(_marks_of, store.entries())])


def _marks_of(entries: list[Entry]) -> NDArray[np.uint64]:
    facts = [repr((one.id, one.camera, one.vehicle, one.time_s, one.picture)) for one in entries]
    return id_hashes(Texts.of(facts))
