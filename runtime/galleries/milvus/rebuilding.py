"""A gallery in Milvus made from a store, and whether it still is as the store."""

from __future__ import annotations

import contextlib
import hashlib

from reid.runtime.errors import DataError
from reid.runtime.galleries.milvus.address import Address
from reid.runtime.galleries.milvus.collection import Collection
from reid.runtime.galleries.milvus.facts import Source
from reid.runtime.galleries.milvus.gallery import MilvusGallery
from reid.runtime.galleries.milvus.indexes import Index
from reid.runtime.galleries.milvus.server import Server
from reid.runtime.galleries.milvus.versions import name_behind, new_version, point_to
from reid.runtime.galleries.store.store import Store
from reid.runtime.progress import SILENT, Progress

__all__ = ["is_current", "rebuild_index"]


def rebuild_index(store: Store, uri: str, *, index: Index = "flat", progress: Progress = SILENT) -> None:
    """Make a gallery in Milvus of the entries of a store; one that was there is replaced in one step.

    Until then, and for good if this is interrupted, searches find the one before. The server needs room for both.

    Args:
        store: the store, as it is now.
        uri: the gallery's address.
        index: how it is searched.
        progress: counts entries.

    Raises:
        DataError: the server does not answer or fails, the store is damaged, or there is a collection of this name that
            is no gallery, or one that was not made of a store and has entries that this one lacks.
    """
    server = Server(Address.parse(uri))
    try:
        before = name_behind(server) if server.ask("has_collection", server.address.name) else None
        if before is not None and not Collection.find(server, before).facts.of_store:
            _check_nothing_is_lost(uri, store)
        made = new_version(server, store.space, index)
        try:
            _fill(made, store, progress)
            point_to(made)
        except BaseException:
            with contextlib.suppress(DataError):  # a server that is gone cannot be told
                server.ask("drop_collection", made.name)
            raise
        if before is not None:
            server.ask("drop_collection", before)
    finally:
        server.close()


def is_current(store: Store, uri: str) -> bool:
    """Return whether a gallery in Milvus holds what a store holds now. Raises DataError as `MilvusGallery.open` does.

    A store that was compacted counts as another.
    """
    with MilvusGallery.open(uri) as gallery:
        return gallery.space == store.space and gallery.source == _source(store) and len(gallery) == len(store)


def _check_nothing_is_lost(uri: str, store: Store) -> None:
    with MilvusGallery.open(uri) as gallery:
        pieces = ([entry.id for entry in entries] for entries in gallery.entries())
        lacking = sum(int((~store.contains(ids)).sum()) for ids in pieces)
    if lacking:
        raise DataError(
            f"{uri} has {lacking:,} entries that {store.path} lacks, and would lose them: give another name, or remove "
            "them with `reid-gallery remove`"
        )


def _fill(collection: Collection, store: Store, progress: Progress) -> None:
    source, first = _source(store), 0
    progress.begin("inserting", len(store), "entries")
    for entries, embeddings in store.batches():
        collection.insert(entries, embeddings, first)
        first += len(entries)
        progress.advance(len(entries))
    collection.state(collection.facts.model_copy(update={"next_sequence": first, "of_store": True, "source": source}))
    progress.begin("indexing", 1, "indexes")
    collection.index()
    progress.advance()


def _source(store: Store) -> Source:
    """Return what a store is now."""
    records = "\n".join(segment.record.model_dump_json() for segment in store.segments)
    return Source(entries=len(store), digest=hashlib.sha256(records.encode()).hexdigest())
