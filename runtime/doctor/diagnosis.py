"""All checks of a machine, and the commands that mend what they found."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reid.runtime.doctor.apart import check_apart
from reid.runtime.doctor.check import STATES, Check
from reid.runtime.doctor.extras import check_extras
from reid.runtime.doctor.machine import check_cache, check_disk, check_processor, check_python
from reid.runtime.doctor.sessions import reinstall, session_names
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.progress import SILENT, Progress

__all__ = ["Diagnosis", "Remedy", "Subject", "diagnose", "find_subjects"]

_SESSION_S, _DEVICE_S = 300.0, 60.0
"""What a check may take: TensorRT builds an engine in the time of a session."""

_DEVICES = "reid.runtime.doctor.devices"
_ON_A_GPU = {
    "CUDA from Python": f"{_DEVICES}:check_cuda_package",
    "CUDA kernels": f"{_DEVICES}:check_kernels",
    "CUDA libraries": f"{_DEVICES}:check_cuda_libraries",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A session that is tried.

    Attributes:
        session: the session, as `--session` names it.
        model: the model that it opens, an absolute path; None for the one that is made for the purpose.
        precision: the precision of the bundle's graph or engine; empty for the only one, or all that were made.
        refusal: why it cannot open the model, and the command that makes what it can open; empty where it may.
    """

    session: str
    model: Path | None = None
    precision: str = ""
    refusal: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        """The name of its check."""
        return f"{self.session} {self.precision}".strip()


@dataclass(frozen=True, slots=True)
class Remedy:
    """A command, and the names of the checks that it mends."""

    command: str
    mends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, in the order in which it was looked for.

    Attributes:
        sessions: a check of each session and, of a given model, each precision.
        machine: checks of everything else that the machine has.
        extras: a check of each of reid's extras.
    """

    sessions: tuple[Check, ...]
    machine: tuple[Check, ...]
    extras: tuple[Check, ...]

    @property
    def works(self) -> bool:
        """Whether a session works."""
        return any(check.state == "works" for check in self.sessions)

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks, the worst last."""
        every = (*self.sessions, *self.machine, *self.extras)
        return tuple(sorted(every, key=lambda check: STATES.index(check.state)))

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """What mends the rest, the most useful first: of sessions before others, of the broken before the missing."""
        mended: dict[str, list[str]] = {}
        for checks in (self.sessions, self.machine, self.extras):
            for check in sorted(checks, key=lambda check: -STATES.index(check.state)):
                if check.remedy and check.state != "works":
                    mended.setdefault(check.remedy, []).append(check.name)
        return tuple(Remedy(command, tuple(names)) for command, names in mended.items())


def diagnose(subjects: Sequence[Subject], progress: Progress = SILENT) -> Diagnosis:
    """Check the machine, its extras, and the given sessions, one after another.

    Args:
        subjects: the sessions to try; see `find_subjects`.
        progress: follows the checks.
    """
    progress.begin("checking", len(subjects) + len(_ON_A_GPU) + 2, "checks")

    def stepped(check: Check) -> Check:
        progress.advance()
        return check

    gpu = stepped(check_apart("NVIDIA GPU", f"{_DEVICES}:check_gpu", timeout_s=_DEVICE_S))
    pictures = stepped(check_apart("pictures", f"{_DEVICES}:check_pictures", timeout_s=_DEVICE_S))
    on_a_gpu = [stepped(_on_a_gpu(gpu, name, function)) for name, function in _ON_A_GPU.items()]
    sessions = [stepped(_session(subject)) for subject in subjects]
    here = (check_python(), check_processor(), check_disk(Path.cwd()), check_cache())
    extras = check_extras(has_gpu=gpu.state != "not for this machine")
    return Diagnosis(tuple(sessions), (*here, pictures, gpu, *on_a_gpu), extras)


def _on_a_gpu(gpu: Check, name: str, function: str) -> Check:
    if gpu.state != "works":
        return Check(name, "not for this machine", "there is no NVIDIA GPU that works")
    return check_apart(name, function, timeout_s=_DEVICE_S)


def _session(subject: Subject) -> Check:
    if subject.refusal:
        return Check(subject.name, "missing", *subject.refusal)
    given = [str(subject.model), subject.precision or "fp32"] if subject.model else []
    function = "reid.runtime.doctor.sessions:check_session"
    remedy = None if subject.model else reinstall(subject.session)
    return check_apart(subject.name, function, subject.session, *given, timeout_s=_SESSION_S, remedy=remedy)


def find_subjects(session: str | None = None, model: Path | None = None) -> tuple[Subject, ...]:
    """Return what to try.

    Args:
        session: a session; None for all that may open the model.
        model: a bundle, an .onnx file, or a run or checkpoint; None for the one that is made for the purpose.

    Raises:
        ModelError: there is no such model, or its bundle is damaged.
        SessionError: the session is unknown.
    """
    from reid.runtime.opening import backend_of

    known = session_names()
    if session and backend_of(session) not in {backend_of(name) for name in known}:
        names = ", ".join(dict.fromkeys(map(backend_of, known)))
        raise SessionError(f"unknown session {backend_of(session)!r}; choose one of: {names}")
    if model is None:
        return tuple(map(Subject, [session] if session else known))
    if not model.exists():
        raise ModelError(f"{model}: no such model; give a bundle, an .onnx file, or a run of reid-train")
    return tuple(_of_model(model, [session] if session else known, chosen=session is not None))


def _of_model(model: Path, names: Sequence[str], *, chosen: bool) -> Iterator[Subject]:
    """Yield the sessions of a model; of all that there are, those that do not open its kind are left out."""
    from reid.runtime.bundle import Bundle
    from reid.runtime.engine_card import engine_precisions
    from reid.runtime.opening import backend_of, is_checkpoint

    subject = partial(Subject, model=model.absolute())
    bundle = Bundle.open(model) if model.is_dir() and not is_checkpoint(model) else None
    for name in names:
        backend = backend_of(name)
        on_engine = backend in ("tensorrt", "tensorrt-rtx")
        if not chosen and is_checkpoint(model) != (backend == "torch"):
            continue
        if bundle is None:
            if chosen or not on_engine:
                yield subject(name)
        elif not on_engine:
            yield from (subject(name, precision=one) for one in bundle.precisions)
        elif precisions := engine_precisions(bundle, backend):
            yield from (subject(name, precision=one) for one in precisions)
        else:
            build = f"reid-export {shlex.quote(str(model))} --engine {backend}"
            yield subject(name, refusal=(f"{model} has no engine for it", build))
