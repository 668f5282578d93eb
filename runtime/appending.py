"""From a folder of crops to entries of a gallery: what `reid-gallery append` does."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.admission import admitted
from reid.runtime.embedding import Embedded, embed
from reid.runtime.errors import DataError
from reid.runtime.files.storage import check_apart
from reid.runtime.folders import tracklets_in, what_is_left_out
from reid.runtime.galleries.entry import Entry, entry_of
from reid.runtime.galleries.opening import local_path, writable_gallery
from reid.runtime.galleries.protocol import GrowingGallery
from reid.runtime.galleries.store.manifest import Storage
from reid.runtime.left_out import LeftOut
from reid.runtime.listing import list_tree
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session
from reid.runtime.shards import Shard, part_of
from reid.runtime.sightings import Seen, check_named
from reid.runtime.tracklet import Tracklet

__all__ = ["Appended", "append", "in_pieces"]

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
        frames: the frames that were read, those that were left out included.
        unreadable: the names of the frames that could not be read, with the reason.
        refused: the names of the frames that the gate kept out, with the reason.
        unseen: the tracklets that were added without a time, where times were given.
        left_out: the files that are no frames, with the reason.
    """

    added: int
    known: int
    entries: int
    frames: int
    unreadable: tuple[str, ...]
    refused: tuple[str, ...]
    unseen: int
    left_out: tuple[LeftOut, ...]


def append(
    session: Session,
    gallery: str | os.PathLike[str],
    crops: Path,
    *,
    storage: Storage | None = None,
    skip_known: bool = False,
    sightings: Mapping[str, Seen] | None = None,
    shard: Shard | None = None,
    gate: bool = False,
    progress: Progress = SILENT,
) -> Appended:
    """Embed the tracklets of a folder or an archive, and add them to a gallery, some hundred at a time.

    Args:
        session: the model.
        gallery: the gallery, as `writable_gallery` takes it; one is made where there is none.
        crops: the folder or archive (see read_folder); the tracklets' names are the ids of the entries.
        storage: see `writable_gallery`.
        skip_known: whether to leave out tracklets whose ids are there already. So what was killed goes on.
        sightings: id -> when and where the tracklet was seen. Its camera goes before the one that the names tell.
        shard: the part of the tracklets to add; None for all.
        gate: whether frames that are too small or too blurred stay out, and tracklets that have no others.
        progress: follows one stage, the frames.

    Raises:
        DataError: the crops are absent, or none is in the sightings; without a shard, none can be read or pass the
            gate; an id is there already; or see `writable_gallery`.
        ModelError: another model embedded the gallery, or the same model in another precision.
    """
    if place := local_path(gallery):
        check_apart(place, [crops])
    listing = list_tree(crops)
    everyone = tracklets_in(listing)
    if sightings is not None:
        _check_sightings(sightings, everyone, crops)
    tracklets = part_of(everyone, shard, crops)
    with writable_gallery(gallery, session.info.space, storage) as growing:
        new = _new(growing, gallery, tracklets, skip_known=skip_known)
        frames, before = sum(len(tracklet.frames) for tracklet in new), len(growing)
        unreadable: list[str] = []
        refused: list[str] = []
        unseen = 0
        progress.begin("embedding", frames)
        chosen = admitted(new, refused) if gate else new
        embedded = _counting(embed(session, chosen, progress=progress), refused, progress)
        try:
            for entries, embeddings in in_pieces(embedded, unreadable):
                sighted = [_sighted(entry, sightings) for entry in entries]
                growing.add(sighted, embeddings)
                unseen += sum(entry.time_s is None for entry in sighted) if sightings is not None else 0
        except BaseException:
            with contextlib.suppress(Exception):  # where it cannot be counted any more, what failed first is told
                if added := len(growing) - before:
                    logger.warning("%d of %d tracklets were added; --skip-known adds the others", added, len(new))
            raise
        added, known, entries_now = len(growing) - before, len(tracklets) - len(new), len(growing)
        if new and not added and not known and shard is None:  # other machines may have some that can be read
            raise DataError(_nothing(crops, unreadable, refused))
    left_out = what_is_left_out(listing)
    return Appended(added, known, entries_now, frames, tuple(unreadable), tuple(refused), unseen, left_out)


def in_pieces(embedded: Iterable[Embedded], unreadable: list[str]) -> Iterator[tuple[list[Entry], NDArray[np.float32]]]:
    """Yield what can be read as entries with their embeddings, some hundred at a time, and note what cannot."""
    entries: list[Entry] = []
    embeddings: list[NDArray[np.float32]] = []
    for one in embedded:
        unreadable.extend(failure.reason for failure in one.unreadable)
        if one.embedding is not None:
            entries.append(entry_of(one.tracklet, {failure.frame_index for failure in one.unreadable}))
            embeddings.append(one.embedding)
        if len(entries) == _PIECE:
            yield entries, np.stack(embeddings)
            entries, embeddings = [], []
    if entries:
        yield entries, np.stack(embeddings)


def _check_sightings(sightings: Mapping[str, Seen], tracklets: Sequence[Tracklet], crops: Path) -> None:
    """Say how many are of something else. Raises DataError if all are."""
    check_named(sightings, tracklets, crops)
    if strange := len(sightings.keys() - {one.id for one in tracklets}):
        logger.warning("%d of %d sightings are of tracklets that are not in %s", strange, len(sightings), crops)


def _new(
    growing: GrowingGallery, gallery: str | os.PathLike[str], tracklets: Sequence[Tracklet], *, skip_known: bool
) -> list[Tracklet]:
    """Return the tracklets that a gallery lacks. Raises DataError where it has any, unless they are skipped."""
    there = growing.contains([tracklet.id for tracklet in tracklets])
    if there.any() and not skip_known:
        first = tracklets[int(there.argmax())].id
        raise DataError(
            f"{gallery} has {there.sum():,} of {len(there):,} tracklets already, {first!r} first: "
            "--skip-known leaves them out; or remove them, or rename the folders"
        )
    return [tracklet for tracklet, known in zip(tracklets, there.tolist(), strict=True) if not known]


def _counting(embedded: Iterable[Embedded], refused: Sequence[str], progress: Progress) -> Iterator[Embedded]:
    """Yield what is embedded, and let the progress count the frames that were kept out meanwhile."""
    counted = 0
    for one in embedded:
        yield one
        now = len(refused)
        progress.advance(now - counted)
        counted = now
    progress.advance(len(refused) - counted)


def _sighted(entry: Entry, sightings: Mapping[str, Seen] | None) -> Entry:
    if not sightings or not (seen := sightings.get(entry.id)):
        return entry
    return replace(entry, camera=seen.camera or entry.camera, time_s=seen.time_s)


def _nothing(crops: Path, unreadable: Sequence[str], refused: Sequence[str]) -> str:
    if refused:
        return f"no image of {crops} passes the gate: {refused[0]}"
    return f"no image of {crops} can be read: {unreadable[0]}"
