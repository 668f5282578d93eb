"""Whether an entry of a store is still the one that a migration read, and not another of its name: a number tells."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.files.storage import atomic_write
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.store.columns import Texts, id_hashes
from reid.runtime.galleries.store.store import Store

__all__ = ["Marks", "is_among", "read_counterparts", "write_counterparts"]

_FILE = "migration.marks"


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """The entries of a store, in its order.

    Attributes:
        ids: a number for each id, uint64 [N].
        contents: a number for everything of each entry, its embedding included, uint64 [N].
    """

    ids: NDArray[np.uint64]
    contents: NDArray[np.uint64]

    @classmethod
    def of(cls, store: Store) -> Marks:
        """Read all entries."""
        ids, contents = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for entries, embeddings in store.batches():
            ids.append(id_hashes(Texts.of([entry.id for entry in entries])))
            contents.append(_contents(entries, embeddings))
        return cls(np.concatenate(ids), np.concatenate(contents))


def _contents(entries: list[Entry], embeddings: NDArray[np.float32]) -> NDArray[np.uint64]:
    digests = [
        hashlib.blake2b(repr(entry).encode() + embedding.tobytes(), digest_size=8).digest()
        for entry, embedding in zip(entries, embeddings, strict=True)
    ]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def is_among(marks: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which marks are among others, bool [N]."""
    if not len(others):
        return np.zeros(len(marks), np.bool_)
    others = np.sort(others)
    found: NDArray[np.bool_] = others[np.minimum(np.searchsorted(others, marks), len(others) - 1)] == marks
    return found


def write_counterparts(folder: Path, marks: Marks) -> None:
    """Note in a store's folder what its entries stand for: those of another store, of another model."""
    atomic_write(folder / _FILE, marks.contents.astype("<u8").tobytes())


def read_counterparts(folder: Path) -> NDArray[np.uint64]:
    """Return the contents of the entries that those of a store stand for, uint64 [N]; none where nothing is noted."""
    path = folder / _FILE
    return np.fromfile(path, "<u8").astype(np.uint64) if path.is_file() else np.empty(0, np.uint64)
