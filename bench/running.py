"""A subject that takes part in a run: its process, what is known of it so far, and what ended its part."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from reid.bench.meters.turns import Computes, computes_on
from reid.bench.process import HostProcess, SubjectError, start_host
from reid.bench.replies import Opened
from reid.bench.result import Absent, Failure, SubjectPrecision
from reid.bench.subjects import Candidate
from reid.runtime.files.validation import first_problem
from reid.runtime.precision import PRECISIONS

__all__ = ["Running", "start"]

_Answer = TypeVar("_Answer")

_FACTS = ("backend", "device", "precision")
"""What every subject says of itself."""

_PRECISIONS: tuple[SubjectPrecision, ...] = (*PRECISIONS, "bf16")

_NOT_HERE = ("SessionError", "ModuleNotFoundError", "ImportError")
"""The errors of what does not work on this machine; any other says that something is wrong."""


@dataclass(slots=True, eq=False)
class Running:
    """A subject in its process.

    Attributes:
        candidate: what it is.
        host: its process.
        opened: what it said when it was opened.
        failure: what ended its part; its process is gone then.
    """

    candidate: Candidate
    host: HostProcess
    opened: Opened
    _process: contextlib.ExitStack
    failure: Failure | None = None

    def attempt(self, during: str, action: Callable[[HostProcess], _Answer]) -> _Answer | None:
        """Ask its process; None where that fails, which ends its part, or where its part has ended before."""
        if self.failure:
            return None
        try:
            with _replies_make_sense():
                return action(self.host)
        except SubjectError as error:
            self.failure = Failure(during=during, reason=_reason(error, self.candidate))
            self._process.close()
            return None

    @property
    def name(self) -> str:
        """Its name within the result."""
        return self.candidate.name

    @property
    def computes(self) -> Computes:
        """What computes in it, and so what its meters are."""
        return computes_on(self.opened.facts["device"])

    @property
    def precision(self) -> SubjectPrecision:
        """The precision that it computes in, which of peers is not always the graph's."""
        return _precision(self.opened)

    def close(self) -> None:
        """End its process."""
        self._process.close()


def start(candidate: Candidate, frames: Path, *, threads: int, most_frames: int) -> Running | Absent | Failure:
    """Start a subject's process and open its model.

    What cannot run on this machine is absent; what fails otherwise is a failure, which people have to know of.

    Args:
        candidate: the subject.
        frames: the file of frames, as `HostProcess.open` takes it.
        threads: the CPU threads that it may use.
        most_frames: the largest batch that it is asked for.
    """
    process = contextlib.ExitStack()
    try:
        host = process.enter_context(
            start_host(candidate.opener, python=candidate.python, environment=_environment(threads))
        )
        with _replies_make_sense():
            path = candidate.model.path.absolute()
            opened = host.open(path, frames, threads=threads, most_frames=most_frames, **candidate.request)
        if missing := [name for name in _FACTS if name not in opened.facts]:
            raise SubjectError(f"its facts do not say {missing[0]!r}")
        _precision(opened)
        return Running(candidate, host, opened, process)
    except SubjectError as error:
        process.close()
        if error.kind in _NOT_HERE:
            return Absent(name=candidate.name, reason=_reason(error, candidate))
        return Failure(during="opening", reason=_reason(error, candidate))
    except BaseException:
        process.close()
        raise


def _precision(opened: Opened) -> SubjectPrecision:
    said = opened.facts["precision"]
    if found := [one for one in _PRECISIONS if one == said]:
        return found[0]
    raise SubjectError(f"its facts say the precision {said[:40]!r}, which is none of {', '.join(_PRECISIONS)}")


def _reason(error: SubjectError, candidate: Candidate) -> str:
    """Return what an error says, with the model's path as it was given: results name no folders of people."""
    path = candidate.model.path
    return str(error).replace(str(path.absolute()), str(path))


@contextlib.contextmanager
def _replies_make_sense() -> Iterator[None]:
    """Let a reply that makes no sense be an error of its subject alone: the script of a peer is anybody's."""
    try:
        yield
    except ValidationError as error:
        raise SubjectError(f"its reply is not valid ({first_problem(error)})") from None


def _environment(threads: int) -> dict[str, str]:
    """Return the variables that give every subject as many threads, none of which spins while others have their turn.

    A thread that spins takes the core from the thread that it waits for, which has cost PyTorch more than half of its
    speed on two cores.
    """
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
