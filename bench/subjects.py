"""What can be measured: every session and precision of the given models, each to be opened in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from reid.bench.models import GivenModel
from reid.bench.result import SubjectKind, SubjectPrecision
from reid.runtime.engine_card import engine_precisions
from reid.runtime.precision import Precision

__all__ = ["Candidate", "find_sessions"]

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
    """
    several = sum(model.kind != "checkpoint" for model in models) > 1
    return [
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


def _sessions(model: GivenModel, asked: Sequence[str]) -> Iterator[str]:
    known = sorted(point.name for point in entry_points(group="reid.sessions"))
    for session in asked or known:
        if (session.partition(":")[0] == _TORCH) == (model.kind == "checkpoint"):
            yield session


def _precisions(model: GivenModel, session: str) -> tuple[Precision, ...]:
    built = engine_precisions(model.bundle, session.partition(":")[0]) if model.bundle else ()
    return built or model.precisions
