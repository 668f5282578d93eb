"""The party of a run: every subject in a process of its own, with its model open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from reid.bench.material import Material
from reid.bench.meters.memory import available_memory_mib
from reid.bench.meters.tree import Tree
from reid.bench.process import HostProcess
from reid.bench.result import Absent, Failure, Settings, SubjectResult
from reid.bench.running import Running, start
from reid.bench.subjects import Candidate
from reid.bench.summary import failed_result
from reid.runtime.errors import SessionError
from reid.runtime.progress import Progress

__all__ = ["start_all"]


_ROOM = 1.5
"""The memory that has to be free for another subject, relative to the most that one before it took to open."""


def start_all(
    candidates: Sequence[Candidate],
    material: Mapping[Path, Material],
    settings: Settings,
    tree: Tree,
    processes: ExitStack,
    progress: Progress,
) -> list[Running | Absent | SubjectResult]:
    """Start the sessions and, if any works, the peers.

    All of them are open at the same time, since they take turns. What the memory does not hold beside the others is
    absent; the first one never is.

    Args:
        candidates: the subjects.
        material: what each model embeds, by its path.
        settings: what was asked for.
        tree: the machine's files, which tell its free memory.
        processes: ends the processes.
        progress: follows the candidates.

    Raises:
        SessionError: no session works.
    """
    largest = 0.0

    def begin(candidate: Candidate) -> Running | Absent | SubjectResult:
        nonlocal largest
        progress.advance()
        free = available_memory_mib(tree)
        if free is not None and free < _ROOM * largest:
            return Absent(name=candidate.name, reason=_no_room(candidate, free))
        pixels = material[candidate.model.path].pixels
        one = start(candidate, pixels, threads=settings.threads, most_frames=max(settings.batches))
        if isinstance(one, Running):
            processes.callback(one.close)
            memory = one.attempt("reading its memory", HostProcess.memory)
            largest = max(largest, memory.host if memory else 0.0)
        return failed_result(candidate, one) if isinstance(one, Failure) else one

    progress.begin("starting", len(candidates), "sessions")
    sessions = [begin(one) for one in candidates if one.kind == "session"]
    _check_that_any_works(sessions, min(settings.batches))
    return [*sessions, *(begin(one) for one in candidates if one.kind == "peer")]


def _no_room(candidate: Candidate, free_mib: float) -> str:
    remedy = "run it apart with --session" if candidate.kind == "session" else "name fewer sessions with --session"
    return f"{free_mib:,.0f} MiB of memory are free beside the others, too few; {remedy}"


def _check_that_any_works(sessions: Sequence[Running | Absent | SubjectResult], frames: int) -> None:
    """Raise SessionError where no session runs, or none with so many frames."""
    reasons = [one.reason for one in sessions if isinstance(one, Absent)]
    reasons += [one.failure.reason for one in sessions if isinstance(one, SubjectResult) and one.failure]
    most = max((one.opened.most_frames for one in sessions if isinstance(one, Running)), default=0)
    if not most:
        raise SessionError(f"no session works here: {reasons[0] if reasons else 'there is none'}")
    if most < frames:
        raise SessionError(f"no session takes batches of {frames:,}; the largest --batch is {most:,} here")
