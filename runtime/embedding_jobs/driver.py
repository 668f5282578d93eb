"""From crops to entries of a store over many machines: what `reid-embed` does where it runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from reid.runtime.appending import in_pieces
from reid.runtime.embedding_jobs.on_ray import Cluster, connected, run_tasks
from reid.runtime.embedding_jobs.part_file import file_of, read_part
from reid.runtime.embedding_jobs.parts import Part, Task, cut
from reid.runtime.embedding_jobs.parts_folder import PartsFolder, space_of
from reid.runtime.embedding_jobs.worker import Job
from reid.runtime.errors import DataError, ReidError
from reid.runtime.files.storage import check_apart, first_foreign
from reid.runtime.folders import tracklets_in, what_is_left_out
from reid.runtime.galleries.protocol import GrowingGallery
from reid.runtime.galleries.store.manifest import Storage
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.store_folder import is_stored, writable_store
from reid.runtime.left_out import LeftOut
from reid.runtime.listing import list_tree
from reid.runtime.precision import Precision
from reid.runtime.progress import SILENT, Progress, note
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet

__all__ = ["Collected", "Request", "embed_on_cluster"]

logger = logging.getLogger(__name__)

_ENVIRONMENT = ("OPENCV_LOG_LEVEL", "REID_MAX_PIXELS")


@dataclass(frozen=True, slots=True)
class Request:
    """What to embed, by what, into what. All paths but the store's are the same on every machine.

    Attributes:
        crops: the folder or archive.
        store: the folder of the gallery.
        parts: the folder for what is embedded until it is added, on a file system that all machines share.
        model: as in `open_session`.
        session: the name of the session.
        precision: as in `open_session`.
        storage: as in `writable_store`.
    """

    crops: Path
    store: Path
    parts: Path
    model: Path
    session: str = "auto"
    precision: Precision = "fp32"
    storage: Storage | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """What came of it.

    Attributes:
        added: the tracklets that were added.
        known: those that were in the store already.
        entries: the entries that the store has now.
        frames: the frames of the other tracklets, the unreadable ones included.
        unreadable: the names of the frames that were left out, with the reason.
        left_out: the files that are no frames, with the reason.
        parts: the parts that were embedded.
        kept: those that an earlier run had embedded.
    """

    added: int
    known: int
    entries: int
    frames: int
    unreadable: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    parts: int
    kept: int


def embed_on_cluster(request: Request, cluster: Cluster, progress: Progress = SILENT) -> Collected:
    """Embed the tracklets of a folder or an archive on a cluster, and add them to a store.

    Tracklets whose ids are in the store are left out. What was embedded is in the folder of parts until it is added, so
    that the same call goes on after this process was killed.

    Args:
        request: what to embed.
        cluster: where.
        progress: follows two stages: the frames, and the tracklets that are added.

    Raises:
        ReidError: the crops are absent, or none can be read; the store, or what is left of an earlier run, is of
            another model or cannot be used; the cluster cannot be reached; or a worker cannot go on.
    """
    crops, folder = request.crops.absolute(), PartsFolder(request.parts.absolute())
    check_apart(request.store, [crops, folder.path])
    check_apart(folder.path, [crops])
    listing = list_tree(crops)
    tracklets = tracklets_in(listing)
    space, known = _look(request, tracklets)
    parts = list(cut(tracklets))
    found = folder.begin(parts)
    tasks = [task for part in parts if (task := part.without(known)).tracklets]
    kept = {task.number for task in tasks if task.number in found and found[task.number].has(task)}
    todo = [task for task in tasks if task.number not in kept]
    # Where nothing is left to do, a worker still has to tell whether what is there is of this model.
    opened_for = todo or tasks[:1]
    if opened_for:
        where = str(request.store) if space else f"{folder.path}, which an earlier run left,"
        _run(opened_for, _job(request, crops, folder, where, space or space_of(folder, found)), cluster, progress)
    unreadable: list[str] = []
    added, entries = _add(request, folder, [parts[task.number] for task in tasks], unreadable, progress)
    folder.remove()
    if unreadable and not added and not known:
        raise DataError(f"no image of {crops} can be read: {unreadable[0]}")
    return Collected(
        added=added,
        known=len(known),
        entries=entries,
        frames=sum(task.frames for task in tasks),
        unreadable=tuple(unreadable),
        left_out=what_is_left_out(listing),
        parts=len(todo),
        kept=len(kept),
    )


def _look(request: Request, tracklets: Sequence[Tracklet]) -> tuple[Space | None, set[str]]:
    """Return the space of the store, and which tracklets it has. Raises ReidError where it cannot be written."""
    path = request.store
    if not is_stored(path):
        if path.exists() and (not path.is_dir() or first_foreign(path, None)):
            raise DataError(f"{path} is there and no gallery; give the folder of one, or a new name")
        return None, set()
    with Store.open(path) as store:
        space = store.space
    with writable_store(path, space, request.storage) as store:
        return space, _known(store, tracklets)


def _known(store: GrowingGallery, tracklets: Sequence[Tracklet]) -> set[str]:
    ids = [tracklet.id for tracklet in tracklets]
    return {one for one, there in zip(ids, store.contains(ids).tolist(), strict=True) if there}


def _job(request: Request, crops: Path, folder: PartsFolder, where: str, space: Space | None) -> Job:
    return Job(
        model=request.model.absolute(),
        session=request.session,
        precision=request.precision,
        crops=crops,
        parts=folder.path,
        gallery=where,
        space=space,
        environment={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    )


def _run(tasks: Sequence[Task], job: Job, cluster: Cluster, progress: Progress) -> None:
    said: set[str] = set()
    with connected(cluster) as workers:
        progress.begin("embedding", sum(task.frames for task in tasks))
        for report in run_tasks(tasks, job, cluster, workers):
            for text in set(report.notes) - said:
                logger.warning("%s: %s", report.host, text)
                said.add(text)
            if report.failure:
                raise ReidError(f"on {report.host}: {report.failure}")
            progress.advance(report.frames)
            note(progress, f"{workers} worker{'s' if workers > 1 else ''}")


def _add(
    request: Request, folder: PartsFolder, parts: Sequence[Part], unreadable: list[str], progress: Progress
) -> tuple[int, int]:
    """Add what parts hold to the store, unless it is there. Return how much was added, and what the store has then."""
    space = space_of(folder, folder.wait_for(parts))
    if space is None:
        with Store.open(request.store) as store:
            return 0, len(store)
    tracklets = [tracklet for part in parts for tracklet in part.tracklets]
    with writable_store(request.store, space, request.storage) as store:
        before, known = len(store), _known(store, tracklets)
        embedded = chain.from_iterable(read_part(folder.path / file_of(part.number), part.tracklets) for part in parts)
        progress.begin("adding", len(tracklets) - len(known), "tracklets")
        for entries, embeddings in in_pieces((one for one in embedded if one.tracklet.id not in known), unreadable):
            store.add(entries, embeddings)
            progress.advance(len(entries))
        return len(store) - before, len(store)
