"""Entries of a store in another order: those that are behind their place go to the end, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.store.columns import Columns, Texts, id_hashes
from reid.runtime.galleries.store.numbers import as_float32
from reid.runtime.galleries.store.store import Store

__all__ = ["move_to_end"]


def move_to_end(store: Store, pieces: Iterable[Sequence[str]]) -> None:
    """Move entries behind all others, in the order of these ids, which are there; a kill can lose the piece at hand."""
    for ids in pieces:
        entries, embeddings = _taken(store, ids)
        store.remove(ids)
        store.add(entries, embeddings)


def _taken(store: Store, ids: Sequence[str]) -> tuple[list[Entry], NDArray[np.float32]]:
    """Return entries and their embeddings, float32 [n, D], in the order of these ids."""
    texts = Texts.of(ids)
    hashes = id_hashes(texts)
    places, found, numbers = [], [], []
    for segment in store.segments:
        rows = segment.find(texts, hashes)
        there = np.flatnonzero(rows >= 0)
        if there.size:
            there = there[np.argsort(rows[there])]
            places.append(there)
            found.append(segment.columns_of(rows[there]))
            numbers.append(as_float32(segment.embeddings_of(rows[there])))
    order = np.argsort(np.concatenate(places))
    entries = Columns.joined(found).entries()
    return [entries[number] for number in order.tolist()], np.concatenate(numbers)[order]
