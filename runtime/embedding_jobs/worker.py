"""What a worker does, on whichever machine it is: it opens the model once, and embeds one part after another."""

from __future__ import annotations

import logging
import os
import pickle
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reid.runtime.errors import DataError, ReidError
from reid.runtime.precision import Precision
from reid.runtime.space import Space
from reid.runtime.text import one_line

if TYPE_CHECKING:
    from reid.runtime.embedding_jobs.parts import Task
    from reid.runtime.sessions.session import Session

__all__ = ["Job", "Report", "Worker"]


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers are told. The paths are the same on every machine.

    Attributes:
        model: as in `open_session`.
        session: the name of the session.
        precision: as in `open_session`.
        crops: the folder or archive of crops.
        parts: the folder that gets the parts.
        gallery: what the embeddings have to be comparable with, as it is to be named.
        space: its space; None where there is nothing yet.
        environment: variables to set.
    """

    model: Path
    session: str
    precision: Precision
    crops: Path
    parts: Path
    gallery: str
    space: Space | None
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a task.

    Attributes:
        host: the name of the machine.
        frames: the frames of the tracklets that were to be embedded.
        failure: why the job cannot go on, in a sentence; "" where the part is on disk.
        notes: what the session had to say, a sentence each.
    """

    host: str
    frames: int
    failure: str
    notes: tuple[str, ...]


class Worker:
    """A session on one machine. What the user can put right comes back as a report; what is a fault is raised."""

    def __init__(self, job: Job) -> None:
        """Open the model."""
        os.environ.update(job.environment)
        self._job, self._notes, self._failure = job, _Notes(), ""
        self._session: Session | None = None
        logging.getLogger("reid").addHandler(self._notes)
        try:
            self._session = _open(job)
        except (ReidError, OSError) as error:
            self._failure = _sentence(error)

    def __call__(self, row: Mapping[str, bytes]) -> dict[str, bytes]:
        """Embed a part unless it is there: row with a task -> row with its report, both pickled."""
        task: Task = pickle.loads(row["task"])
        if not self._failure:
            try:
                self._embed(task)
            except (ReidError, OSError) as error:
                self._failure = _sentence(error)
        report = Report(platform.node(), task.frames, self._failure, tuple(self._notes.taken()))
        return {"report": pickle.dumps(report)}

    def _embed(self, task: Task) -> None:
        from reid.runtime.embedding import embed
        from reid.runtime.embedding_jobs.part_file import file_of, read_facts, write_part
        from reid.runtime.embedding_jobs.tries import counted_try

        assert self._session
        path = self._job.parts / file_of(task.number)
        facts = read_facts(path)
        if facts and facts.has(task):  # another worker, or an earlier run, was faster
            return
        with counted_try(path, next(iter(task.tracklets.values())).id):
            embedded = embed(self._session, task.tracklets.values())
            write_part(path, task, self._session.info.space, embedded)


class _Notes(logging.Handler):
    """Keeps what the library warns of, for a terminal on another machine."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(one_line(record.getMessage()))

    def taken(self) -> list[str]:
        """Return what was kept since the last time."""
        taken, self._kept = self._kept, []
        return taken


def _open(job: Job) -> Session:
    from reid.runtime.files.archives import split_virtual
    from reid.runtime.galleries.comparable import check_space
    from reid.runtime.opening import open_session

    archive, _ = split_virtual(job.crops) or (job.crops, "")
    for path in (archive, job.parts):
        if not path.exists():
            raise DataError(f"{path}: not found here; every machine needs it, at this path")
    session = open_session(job.model, job.session, job.precision)
    if job.space:
        check_space(job.gallery, job.space, session.info.space)
    return session


def _sentence(error: ReidError | OSError) -> str:
    if isinstance(error, OSError) and error.filename:
        return one_line(f"{os.fsdecode(error.filename)}: {error.strerror}")
    return one_line(error)
