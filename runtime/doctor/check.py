"""What one check of the machine found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

__all__ = ["STATES", "Check", "Doing", "State"]

State: TypeAlias = Literal["works", "not for this machine", "missing", "broken"]

STATES: tuple[State, ...] = get_args(State)
"""All of them, the best first."""

Doing: TypeAlias = Callable[[str], object]
"""Takes what a check does next, "opening it in fp32": where it was, should its process die."""


@dataclass(frozen=True, slots=True)
class Check:
    """A finding.

    Attributes:
        name: what was checked: "onnxruntime:cuda", "reid[train]".
        state: what became of it.
        detail: a version, a number or the reason, for people.
        remedy: the command that mends it; None where there is nothing to mend, or no single command does.
    """

    name: str
    state: State
    detail: str
    remedy: str | None = None
