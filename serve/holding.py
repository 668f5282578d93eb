"""The gallery that the service holds: what is in it, and how entries come and go."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.opening import is_gallery, open_gallery
from reid.runtime.galleries.protocol import Gallery, Kind
from reid.runtime.galleries.store.columns import Texts, id_hashes
from reid.runtime.galleries.store.numbers import as_float32
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.summary import Summary, summarize
from reid.runtime.space import Space
from reid.serve.pictures import Picture, Pictures

__all__ = ["Facts", "Holding", "KnownError", "Listed"]

_REFRESH_S = 1.0
"""How long what another process has added to a store may go unseen."""


class KnownError(Exception):
    """The gallery has an entry of that id."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a gallery holds.

    Attributes:
        summary: in numbers.
        kind: images or tracklets; None where that is not known.
    """

    summary: Summary
    kind: Kind | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A part of a gallery's entries.

    Attributes:
        total: how many there are of what was asked for.
        entries: some of them, in the gallery's order.
    """

    total: int
    entries: Sequence[Entry]


class Holding:
    """A gallery that is open. Any thread may call any method; changes take turns.

    Attributes:
        gallery: the gallery.
        store: the same where entries can be added to it and removed; else None.
    """

    def __init__(self, gallery: Gallery, store: Store | None) -> None:
        """Use `Holding.open`."""
        self.gallery, self.store = gallery, store
        self._pictures = Pictures.beside(store.path) if store else None
        self._turn = threading.RLock()
        self._facts: Facts | None = None
        self._refreshed = time.monotonic()

    @classmethod
    def open(cls, source: str | os.PathLike[str], space: Space, *, read_only: bool) -> Holding:
        """Open a gallery: a store for writing, unless it is only to be read; anything else for reading.

        Raises:
            ReidError: see `open_gallery`; or another process writes to the store.
        """
        if not is_gallery(source):
            raise DataError(f"{source} is no gallery; make one with `reid-gallery append STORE CROPS --model BUNDLE`")
        gallery = open_gallery(source, space)
        if read_only or not isinstance(gallery, Store):
            return cls(gallery, None)
        gallery.close()
        try:
            store = Store.open(gallery.path, space, write=True)
        except DataError as error:
            raise DataError(f"{error}; --read-only opens it for reading") from None
        return cls(store, store)

    def facts(self) -> Facts:
        """Return what the gallery holds; it is counted again after a change."""
        with self._turn:
            if self._facts is None:
                self._facts = Facts(summarize(self.gallery), self.gallery.kind)
            return self._facts

    def refresh(self) -> None:
        """See what another process has added to a store, at most once a second."""
        if self.store is not None or not isinstance(self.gallery, Store):
            return
        with self._turn:
            if time.monotonic() - self._refreshed > _REFRESH_S:
                if self.gallery.refresh():
                    self._facts = None
                self._refreshed = time.monotonic()

    def listing(self, camera: str | None, text: str, offset: int, limit: int) -> Listed:
        """Return some entries, in the gallery's order. Where nothing is asked for, those after them are not read.

        Args:
            camera: only those of this camera; None for any.
            text: only those whose ids hold it, in upper or lower case.
            offset: how many to pass over.
            limit: how many to return, at most.
        """
        self.refresh()
        wanted, everything = text.casefold(), camera is None and not text
        total, entries = 0, list[Entry]()
        for some in self.gallery.entries():
            for entry in some:
                if (camera is None or entry.camera == camera) and wanted in entry.id.casefold():
                    if offset <= total < offset + limit:
                        entries.append(entry)
                    total += 1
            if everything and total >= offset + limit:
                return Listed(len(self.gallery), entries)
        return Listed(total, entries)

    def entry(self, identity: str) -> Entry | None:
        """Return an entry by its id; None where there is none. Only a store has an index of its ids."""
        self.refresh()
        if isinstance(self.gallery, Store):
            found = _in_store(self.gallery, identity)
            return found[0] if found else None
        return next((one for some in self.gallery.entries() for one in some if one.id == identity), None)

    def embedding(self, identity: str) -> tuple[Entry, NDArray[np.float32]] | None:
        """Return an entry and its embedding, float32 [D], by its id; None where there is none."""
        self.refresh()
        if isinstance(self.gallery, Store):
            return _in_store(self.gallery, identity)
        if isinstance(self.gallery, MemoryGallery):
            rows = (row for row, entry in enumerate(self.gallery.members) if entry.id == identity)
            return next(((self.gallery.members[row], self.gallery.embeddings[row]) for row in rows), None)
        for entries, embeddings in self.gallery.batches():
            for entry, embedding in zip(entries, embeddings, strict=True):
                if entry.id == identity:
                    return entry, embedding
        return None

    def add(self, entry: Entry, embedding: NDArray[np.float32], pictures: Sequence[Picture]) -> Entry:
        """Add an entry with its pictures; a search that begins afterwards finds it.

        Returns:
            The entry, with the place of its middle picture.

        Raises:
            KnownError: there is an entry of that id.
            DataError: the entry cannot be used.
        """
        assert self.store is not None
        assert self._pictures is not None
        with self._turn:
            if self.store.contains([entry.id])[0]:
                raise KnownError(entry.id)
            with self._pictures.keeping(entry, pictures) as kept:
                self.store.add([kept], embedding[None])
            self._facts = None
            return kept

    def remove(self, identity: str) -> bool:
        """Remove an entry, and the pictures of it that the service has kept; return whether there was one."""
        assert self.store is not None
        assert self._pictures is not None
        with self._turn:
            found = _in_store(self.store, identity)
            if found is None or not self.store.remove([identity]):
                return False
            self._pictures.forget(found[0])
            self._facts = None
            return True

    def close(self) -> None:
        """Close the gallery."""
        with self._turn:
            self.gallery.close()


def _in_store(store: Store, identity: str) -> tuple[Entry, NDArray[np.float32]] | None:
    ids = Texts.of([identity])
    hashes = id_hashes(ids)
    for segment in store.segments:
        rows = segment.find(ids, hashes)
        if rows[0] >= 0:
            return segment.columns_of(rows).entries()[0], as_float32(segment.embeddings_of(rows))[0]
    return None
