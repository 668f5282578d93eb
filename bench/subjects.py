"""What can be measured: every session and precision of the given models, each to be opened in a process of its own."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Any

from reid.bench.models import GivenModel
from reid.bench.result import SubjectKind, SubjectPrecision
from reid.runtime.engine_card import engine_precisions
from reid.runtime.errors import SessionError
from reid.runtime.opening import backend_of
from reid.runtime.precision import PRECISIONS, Precision

__all__ = ["Candidate", "find_sessions", "with_own_names"]

_OPENER = "reid.bench.session_subject:open_subject"
_TORCH = "torch"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A subject that may work here; whether it does, opening it tells.

    Attributes:
        name: its name within the result: "openvino int8".
        kind: whose it is.
        precision: its precision.
        model: the model that it runs.
        opener: what opens it in its process: "module:function" or "script.py:function".
        request: what the opener is told besides the model's path.
        python: the interpreter of its process.
        apart: whether a turn takes seconds, so that it takes its turns after all others have.
    """

    name: str
    kind: SubjectKind
    precision: SubjectPrecision
    model: GivenModel
    opener: str
    request: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    apart: bool = False


def find_sessions(
    models: Sequence[GivenModel], sessions: Sequence[str] = (), precisions: Sequence[Precision] = ()
) -> list[Candidate]:
    """Return our sessions for the models, in the order of models, sessions and precisions.

    Args:
        models: the models.
        sessions: the sessions, as `--session` names them; all that are known, if none is given.
        precisions: the precisions; all that a model has, if none is given.

    Raises:
        SessionError: one that was asked for is unknown or names another GPU than the first, or none of the models can
            be run by it, or in its precision.
    """
    _check_known(sessions)
    _check_gpu(sessions)
    several = sum(model.kind != "checkpoint" for model in models) > 1
    found = [
        Candidate(
            f"{session} {precision}" + (f" of {model.path.name}" if several else ""),
            "session",
            precision,
            model,
            _OPENER,
            # A single graph is opened without its precision, which it says itself.
            {"session": session, "precision": "fp32" if model.kind == "graph" else precision},
        )
        for model in models
        for session in _sessions(model, sessions)
        for precision in _precisions(model, session)
        if not precisions or precision in precisions
    ]
    for session in sessions:
        if not any(one.request["session"] == session for one in found):
            raise SessionError(_why_none(session, models, precisions))
    for precision in precisions:
        if not any(one.precision == precision for one in found):
            raise SessionError(f"there is no {precision} graph in what was given; {_choices(models)}")
    return found


def with_own_names(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates such that no two have the same name, which tells them apart in a result.

    Of models in folders of the same name, "before/bundle" and "after/bundle", the path is told.

    Raises:
        SessionError: two peers have the same name.
    """
    models = Counter(name for name, _ in {(one.name, one.model.path) for one in candidates})
    found = [_with_path(one) if models[one.name] > 1 else one for one in candidates]
    for name, count in Counter(one.name for one in found).items():
        if count > 1:
            raise SessionError(f"{count} subjects are called {name!r}; give each --peer a name of its own")
    return found


def _with_path(candidate: Candidate) -> Candidate:
    path = candidate.model.path
    return replace(candidate, name=f"{candidate.name.removesuffix(f' of {path.name}')} of {path}")


def _known() -> list[str]:
    return sorted({point.name for point in entry_points(group="reid.sessions")})


def _check_known(sessions: Sequence[str]) -> None:
    for session in sessions:
        if backend_of(session) not in _known():
            raise SessionError(f"unknown session {session!r}; choose one of: {', '.join(_known())}")


def _check_gpu(sessions: Sequence[str]) -> None:
    """Refuse any GPU but the first one that CUDA shows: peers run on it, and its meters and peaks are measured."""
    for session in sessions:
        number = session.partition("+")[0].rpartition(":")[2]
        if number.isdecimal() and int(number):
            remedy = f"make it the first one: CUDA_VISIBLE_DEVICES={number} reid-bench --session "
            raise SessionError(
                f"{session} is not on the GPU that is measured; {remedy}{session.replace(f':{number}', '')}"
            )


def _why_none(session: str, models: Sequence[GivenModel], precisions: Sequence[Precision]) -> str:
    """Return why a session has nothing to run, and what would mend it."""
    if any(_runs(session, model) for model in models):
        return f"{session} has no {' or '.join(precisions)} to run in what was given; {_choices(models)}"
    if backend_of(session) == _TORCH:
        return f"{session} runs checkpoints, and none was given; name the run that the model was exported from as well"
    return f"{session} runs graphs, and only checkpoints were given; export one with reid-export, and give the bundle"


def _choices(models: Sequence[GivenModel]) -> str:
    there = {precision for model in models for precision in model.precisions}
    return f"choose one of: {', '.join(one for one in PRECISIONS if one in there)}"


def _runs(session: str, model: GivenModel) -> bool:
    """Return whether a session runs models of this kind: PyTorch runs checkpoints, all others run graphs."""
    return (backend_of(session) == _TORCH) == (model.kind == "checkpoint")


def _sessions(model: GivenModel, asked: Sequence[str]) -> Iterator[str]:
    for session in dict.fromkeys(asked or _known()):
        if _runs(session, model):
            yield session


def _precisions(model: GivenModel, session: str) -> tuple[Precision, ...]:
    built = engine_precisions(model.bundle, backend_of(session)) if model.bundle else ()
    return built or model.precisions
