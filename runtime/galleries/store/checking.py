"""What is checked of entries and embeddings, once: when they go in, and of queries when they are asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.conditions import ANY, Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.ranking import wrong_lengths
from reid.runtime.galleries.store.columns import Texts, id_hashes
from reid.runtime.galleries.store.snapshot import Snapshot

__all__ = ["check_absent", "check_entries", "checked_embeddings", "checked_queries"]


def checked_embeddings(embeddings: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Return embeddings as float32 [N, D]. Raises DataError if their size or a length is wrong."""
    checked = np.ascontiguousarray(embeddings, np.float32)
    if checked.ndim != 2 or checked.shape[1] != dimensions:
        raise DataError(
            f"embeddings {list(checked.shape)} do not fit a gallery of {dimensions} dimensions: "
            "embed both with the same model"
        )
    if wrong := wrong_lengths(checked):
        raise DataError(f"{wrong}: L2-normalize them; nan comes from the model")
    return checked


def checked_queries(
    embeddings: NDArray[np.float32], dimensions: int, k: int, conditions: Sequence[Condition] | None
) -> tuple[NDArray[np.float32], Sequence[Condition]]:
    """Return what a search is asked as float32 [Q, D] and Q conditions. Raises DataError as `checked_embeddings`."""
    queries = checked_embeddings(embeddings, dimensions)
    if conditions is None:
        conditions = [ANY] * len(queries)
    if len(conditions) != len(queries) or k < 1:
        raise ValueError(f"{len(queries)} queries, {len(conditions)} conditions, k is {k}: expected 1 or more")
    return queries, conditions


def check_entries(entries: Sequence[Entry], embeddings: int) -> None:
    """Raise DataError if an entry cannot be used, an id is there twice, or there are not as many embeddings."""
    if len(entries) != embeddings:
        raise DataError(f"{len(entries)} entries and {embeddings} embeddings: expected one for each")
    seen = set()
    for entry in entries:
        if flaw := entry.flaw():
            raise DataError(f"entry {entry.id!r} cannot be added: {flaw}")
        if entry.id in seen:
            raise DataError(f"entry {entry.id!r} is there twice: give each an id of its own")
        seen.add(entry.id)


def check_absent(snapshots: Sequence[Snapshot], ids: Texts) -> None:
    """Raise DataError if a gallery has an entry with one of these ids."""
    hashes = id_hashes(ids)
    for segment in (segment for snapshot in snapshots for segment in snapshot.segments):
        if (there := np.flatnonzero(segment.find(ids, hashes) >= 0)).size:
            name = list(ids)[there[0]]
            raise DataError(f"there is an entry {name!r} already: remove it first, or give each an id of its own")
