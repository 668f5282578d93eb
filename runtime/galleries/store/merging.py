"""Merging galleries: what has to be true of them, and their rows one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from reid.runtime.galleries.store.checking import check_absent
from reid.runtime.galleries.store.columns import Columns
from reid.runtime.galleries.store.numbers import as_float32
from reid.runtime.galleries.store.snapshot import Snapshot

__all__ = ["check_ids_apart", "pieces_of"]


def check_ids_apart(snapshots: Sequence[Snapshot]) -> None:
    """Raise DataError if two galleries have an entry of the same id."""
    for place, snapshot in enumerate(snapshots):
        for segment in snapshot.segments if place else ():
            for _, columns in segment.pieces():
                check_absent(snapshots[:place], columns.ids)


def pieces_of(snapshots: Sequence[Snapshot]) -> Iterator[tuple[NDArray[Any], Columns]]:
    """Yield the rows of galleries, piece by piece, in float32: they may be stored in other ways than they will be."""
    for snapshot in snapshots:
        for segment in snapshot.segments:
            for embeddings, columns in segment.pieces():
                yield as_float32(embeddings), columns
