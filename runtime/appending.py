"""From a folder of crops to entries of a store: what `reid-gallery append` does."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.embedding import Embedded, embed
from reid.runtime.errors import DataError
from reid.runtime.files.storage import check_apart
from reid.runtime.folders import tracklets_in, what_is_left_out
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.store.columns import Texts, id_hashes
from reid.runtime.galleries.store.manifest import Storage
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.store_folder import writable_store
from reid.runtime.left_out import LeftOut
from reid.runtime.listing import list_tree
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Tracklet

__all__ = ["Appended", "append"]

logger = logging.getLogger(__name__)

_PIECE = 256
"""Tracklets that are added together: what a kill can lose."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What came of appending crops.

    Attributes:
        added: the tracklets that were added.
        known: those that were there already, and left out.
        entries: the entries that the gallery has now.
        frames: the frames that were read, the unreadable ones included.
        unreadable: the names of the frames that were left out, with the reason.
        left_out: the files that are no frames, with the reason.
    """

    added: int
    known: int
    entries: int
    frames: int
    unreadable: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def append(
    session: Session,
    gallery: Path,
    crops: Path,
    *,
    storage: Storage | None = None,
    skip_known: bool = False,
    progress: Progress = SILENT,
) -> Appended:
    """Embed the tracklets of a folder or an archive, and add them to a store, some hundred at a time.

    Args:
        session: the model.
        gallery: the store's folder; one is made where there is none.
        crops: the folder or archive (see read_folder); the tracklets' names are the ids of the entries.
        storage: see `writable_store`.
        skip_known: whether to leave out tracklets whose ids are there already. So what was killed goes on.
        progress: follows one stage, the frames.

    Raises:
        DataError: the crops are absent, or none can be read; an id is there already; or see `writable_store`.
        ModelError: another model embedded the gallery, or the same model in another precision.
    """
    check_apart(gallery, [crops])
    listing = list_tree(crops)
    tracklets = tracklets_in(listing)
    with writable_store(gallery, session.info.space, storage) as store:
        new = _new(store, tracklets, skip_known=skip_known)
        frames, before = sum(len(tracklet.frames) for tracklet in new), len(store)
        unreadable: list[str] = []
        progress.begin("embedding", frames)
        try:
            for piece in _pieces(embed(session, new, progress=progress), unreadable):
                store.add(*piece)
        except BaseException:
            if added := len(store) - before:
                logger.warning("%d of %d tracklets were added; --skip-known adds the others", added, len(new))
            raise
        added, known, entries = len(store) - before, len(tracklets) - len(new), len(store)
        if not added and not known:
            raise DataError(f"no image of {crops} can be read: {unreadable[0]}")
    return Appended(added, known, entries, frames, tuple(unreadable), what_is_left_out(listing))


def _new(store: Store, tracklets: Sequence[Tracklet], *, skip_known: bool) -> list[Tracklet]:
    """Return the tracklets that a store does not have. Raises DataError where it has any, unless they are skipped."""
    ids = Texts.of([tracklet.id for tracklet in tracklets])
    hashes, there = id_hashes(ids), np.zeros(len(tracklets), np.bool_)
    for segment in store.segments:
        there |= segment.find(ids, hashes) >= 0
    if there.any() and not skip_known:
        first = tracklets[int(there.argmax())].id
        raise DataError(
            f"{store.path} has {there.sum():,} of {len(there):,} tracklets already, {first!r} first: "
            "--skip-known leaves them out; or remove them, or rename the folders"
        )
    return [tracklet for tracklet, known in zip(tracklets, there.tolist(), strict=True) if not known]


def _pieces(embedded: Iterable[Embedded], unreadable: list[str]) -> Iterator[tuple[list[Entry], NDArray[np.float32]]]:
    """Yield what can be read as entries with their embeddings, and note what cannot."""
    entries, embeddings = [], []
    for one in embedded:
        unreadable.extend(failure.reason for failure in one.unreadable)
        if one.embedding is not None:
            entries.append(_entry(one))
            embeddings.append(one.embedding)
        if len(entries) == _PIECE:
            yield entries, np.stack(embeddings)
            entries, embeddings = [], []
    if entries:
        yield entries, np.stack(embeddings)


def _entry(embedded: Embedded) -> Entry:
    tracklet = embedded.tracklet
    middle = tracklet.frames[len(tracklet.frames) // 2]
    picture = str(middle.absolute()) if isinstance(middle, Path) else ""
    frames = len(tracklet.frames) - len(embedded.unreadable)
    return Entry(tracklet.id, tracklet.camera, tracklet.vehicle, None, picture, frames)
