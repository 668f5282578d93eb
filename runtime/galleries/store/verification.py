"""Reading a gallery whole, to find what is damaged before a search does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import LENGTH_TOLERANCE, wrong_lengths
from reid.runtime.galleries.store.columns import id_hashes
from reid.runtime.galleries.store.manifest import damaged
from reid.runtime.galleries.store.numbers import as_float32
from reid.runtime.galleries.store.segment import Segment
from reid.runtime.galleries.store.snapshot import Snapshot
from reid.runtime.progress import Progress

__all__ = ["problems"]

_TOLERANCE = LENGTH_TOLERANCE + 2**-10
"""Lengths are checked before embeddings are rounded to FP16, which moves them by up to 2^-11."""


def problems(snapshot: Snapshot, progress: Progress) -> Iterator[str]:
    """Yield a sentence for each segment that is damaged, or does not hold what its writer had to check."""
    progress.begin("reading", sum(segment.blocks for segment in snapshot.segments), "blocks")
    damages = {segment: _problem(partial(segment.check, progress)) for segment in snapshot.segments}
    progress.begin("checking", len(snapshot), "entries")
    hashes: list[NDArray[np.uint64]] = []
    for segment, damage in damages.items():
        if problem := damage or _problem(partial(_check_rows, segment, progress)):
            yield problem
        else:
            hashes.extend(id_hashes(columns.ids) for columns in segment.entries())
    if hashes and (twice := len(every := np.concatenate(hashes)) - len(np.unique(every))):
        yield f"{twice} of {len(every)} ids are there twice; embed the gallery again"


def _problem(check: Callable[[], None]) -> str:
    try:
        check()
    except DataError as error:
        return str(error)
    return ""


def _check_rows(segment: Segment, progress: Progress) -> None:
    """Raise DataError where embeddings and entries, though as they were written, cannot be right."""
    for embeddings, columns in segment.pieces():
        if wrong := wrong_lengths(as_float32(embeddings), _TOLERANCE):
            raise damaged(segment.path, wrong)
        try:
            flaw = next(filter(None, (entry.flaw() for entry in columns.entries())), "")
        except (ValueError, IndexError) as error:
            flaw = str(error)
        if flaw:
            raise damaged(segment.path, flaw)
        ids = list(columns.ids)
        if (segment.find(columns.ids, id_hashes(columns.ids)) < 0).any():
            raise damaged(segment.path, f"an id between {ids[0]!r} and {ids[-1]!r} is not found")
        progress.advance(len(ids))
