"""A gallery in Milvus: an index of more entries than one machine holds, which a store can rebuild.

What Milvus acknowledged is in its log, which outlasts a crash of its nodes as far as that log does; milvus-lite writes
its log through to the operating system, but not to the disk. So a store is what to keep.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.comparable import check_space
from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.milvus.address import Address
from reid.runtime.galleries.milvus.collection import Collection
from reid.runtime.galleries.milvus.facts import Source
from reid.runtime.galleries.milvus.indexes import Index
from reid.runtime.galleries.milvus.rows import FACTS, as_arrays, entry_of
from reid.runtime.galleries.milvus.search import MOST, found_in
from reid.runtime.galleries.milvus.server import Server
from reid.runtime.galleries.milvus.versions import name_behind, new_version, point_to
from reid.runtime.galleries.protocol import Found, Kind
from reid.runtime.galleries.store.checking import check_entries, checked_embeddings, checked_queries
from reid.runtime.space import Space

__all__ = ["MilvusGallery"]

_SEQUENCES = 1 << 20
"""Sequence numbers that a writer takes at a time, since each time changes the collection's properties."""

T = TypeVar("T")


class MilvusGallery:
    """A gallery in Milvus; a `reid.runtime.galleries.protocol.GrowingGallery`. One process at a time may change it.

    Its name is an alias of the collection that holds it, so that a rebuilt one takes its place in one step.

    Attributes:
        address: where it is.
    """

    def __init__(self, server: Server, *, write: bool = False) -> None:
        """Use `MilvusGallery.create` or `MilvusGallery.open`."""
        self.address = server.address
        self._server, self._write = server, write
        self._turn = threading.Lock()
        self._held = Collection.find(server, name_behind(server))
        self._held.load()
        self._taken = range(0)

    @classmethod
    def create(cls, uri: str, space: Space, *, index: Index = "flat") -> MilvusGallery:
        """Make an empty gallery and open it for writing.

        Args:
            uri: its address.
            space: the space of its embeddings.
            index: how it is searched.

        Raises:
            DataError: there is one, or the server does not answer, or has no such index.
        """
        server = Server(Address.parse(uri))
        try:
            if server.ask("has_collection", server.address.name):
                raise DataError(f"{uri} is there already; give another name, or open it")
            point_to(new_version(server, space, index))
            return cls(server, write=True)
        except BaseException:
            server.close()
            raise

    @classmethod
    def open(cls, uri: str, space: Space | None = None, *, write: bool = False) -> MilvusGallery:
        """Open a gallery.

        Args:
            uri: its address.
            space: the space of what it will be searched with, or get; None to take it as it is.
            write: whether to change it.

        Raises:
            DataError: there is none, or the server does not answer.
            ModelError: another model embedded it, or the same model in another precision.
        """
        address = Address.parse(uri)
        if address.file is not None and not address.file.is_dir():
            raise DataError(f"{uri}: there is no {address.file}; create the gallery first")
        server = Server(address)
        try:
            gallery = cls(server, write=write)
            if space is not None:
                check_space(uri, gallery.space, space)
            return gallery
        except BaseException:
            server.close()
            raise

    @staticmethod
    def exists(uri: str) -> bool:
        """Return whether there is a gallery, or another collection of its name. Raises DataError as `open` does."""
        address = Address.parse(uri)
        if address.file is not None and not address.file.is_dir():
            return False
        server = Server(address)
        try:
            return bool(server.ask("has_collection", address.name))
        finally:
            server.close()

    @property
    def space(self) -> Space:
        """The space of the embeddings."""
        return self._held.facts.space

    @property
    def index(self) -> Index:
        """How it is searched."""
        return self._held.facts.index

    @property
    def source(self) -> Source | None:
        """The store that it was made from, as that was then; None where it was changed since, or made without."""
        return Collection.find(self._server, name_behind(self._server)).facts.source

    @property
    def kind(self) -> Kind | None:
        """What it holds; None where the frames of an entry are not known, and no entry has several."""
        return self._with(_kind)

    def __len__(self) -> int:
        """Return the number of entries."""
        return self._with(len)

    def entries(self) -> Iterator[list[Entry]]:
        """Yield what `batches` does, without embeddings, which are not asked for."""
        for rows in self._collection().all_rows(FACTS):
            yield [entry_of(row) for row in rows]

    def batches(self) -> Iterator[tuple[list[Entry], NDArray[np.float32]]]:
        """Yield all entries in their order, some thousand at a time, with their embeddings, float32 [n, D]."""
        for rows in self._collection().all_rows([*FACTS, "embedding"]):
            _, entries, embeddings = as_arrays(rows)
            yield entries, embeddings

    def search(
        self, embeddings: NDArray[np.float32], k: int, conditions: Sequence[Condition] | None = None
    ) -> list[tuple[Found, ...]]:
        """Return the best k entries for each query, best first, ties in the order in which they were added.

        Args:
            embeddings: float32 [Q, D], L2-normalized, of the gallery's space.
            k: matches per query, at least 1.
            conditions: what each query's matches must be; None for any.

        Raises:
            DataError: the embeddings cannot be used, more matches are asked for than Milvus returns, or it fails.
        """
        queries, conditions = checked_queries(embeddings, self.space.dimensions, k, conditions)
        if k > MOST and (k := min(k, len(self))) > MOST:
            raise DataError(f"{k:,} matches were asked for, and Milvus returns up to {MOST:,}: ask for fewer")
        if not k or not len(queries):
            return [()] * len(queries)
        return self._with(lambda collection: found_in(collection, queries, k, conditions))

    def contains(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these ids it has, bool [N]."""
        found = self._with(lambda collection: collection.sequences_of(ids))
        return np.array([one in found for one in ids], np.bool_)

    def add(self, entries: Sequence[Entry], embeddings: NDArray[np.float32]) -> None:
        """Add entries, all or none, unless the process is killed: then some thousand at the beginning may be there.

        Args:
            entries: the N entries, whose ids are new to the gallery.
            embeddings: float32 [N, D], L2-normalized, of the gallery's space.

        Raises:
            DataError: an entry or an embedding cannot be used, the gallery is open for reading, or Milvus fails.
        """
        checked = checked_embeddings(embeddings, self.space.dimensions)
        check_entries(entries, len(checked))
        with self._turn:
            collection = self._changeable()
            if known := collection.sequences_of(entry.id for entry in entries):
                name = next(iter(known))
                raise DataError(f"there is an entry {name!r} already: remove it first, or give each an id of its own")
            taken = self._take(collection, len(entries))
            try:
                collection.insert(entries, checked, taken.start)
            except BaseException:
                with contextlib.suppress(DataError):  # a server that is gone cannot be told
                    collection.delete(taken)
                raise

    def remove(self, ids: Iterable[str]) -> int:
        """Remove entries; ids that are not there do not matter. Return how many there were. Raises as `add` does."""
        if isinstance(ids, str):
            raise TypeError(f"ids are {ids!r}; give a list of ids")
        with self._turn:
            collection = self._changeable()
            sequences = collection.sequences_of(ids).values()
            if sequences and collection.facts.source:
                collection.state(collection.facts.model_copy(update={"source": None}))
            collection.delete(sequences)
            return len(sequences)

    def drop(self) -> None:
        """Remove the whole gallery from the server, and close it."""
        with self._turn:
            collection = self._changeable()
            self._server.ask("drop_alias", self.address.name)
            self._server.ask("drop_collection", collection.name)
            self._server.close()

    def close(self) -> None:
        """Hang up; what is closed cannot be used."""
        self._server.close()

    def __enter__(self) -> MilvusGallery:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _collection(self) -> Collection:
        """Return the collection that the gallery's name stands for now, with its facts as they were read once."""
        if (name := name_behind(self._server)) != self._held.name:
            self._held = Collection.find(self._server, name)
        return self._held

    def _with(self, work: Callable[[Collection], T]) -> T:
        """Return what work on the collection gives; once more if that was replaced meanwhile."""
        collection = self._collection()
        try:
            return work(collection)
        except DataError:
            if (now := self._collection()).name == collection.name:
                raise
            return work(now)

    def _changeable(self) -> Collection:
        if not self._write:
            raise DataError(f"{self.address} is open for reading; open it for writing to change it")
        return Collection.find(self._server, name_behind(self._server))

    def _take(self, collection: Collection, count: int) -> range:
        """Return sequence numbers that no entry has, above all that any has."""
        facts = collection.facts
        if facts.source or len(self._taken) < count or facts.next_sequence != self._taken.stop:
            after = facts.next_sequence + max(count, _SEQUENCES)
            collection.state(facts.model_copy(update={"next_sequence": after, "source": None}))
            self._taken = range(facts.next_sequence, after)
        taken, self._taken = self._taken[:count], self._taken[count:]
        return taken


def _kind(collection: Collection) -> Kind | None:
    if collection.has("frames > 1"):
        return "tracklets"
    return None if collection.has("frames == 0") else "images"
