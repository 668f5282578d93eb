"""A row of the table of bad inputs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from table.place import Place

__all__ = ["QUOTED", "Make", "Row"]

Make: TypeAlias = Callable[[Place], None]
"""Makes an input in the folder in which a command will run."""

QUOTED = "what the line has between backquotes"


@dataclass(frozen=True, slots=True)
class Row:
    """A command line and what has to come of it.

    Attributes:
        line: the command line as one types it, perhaps with variables before it. Sound inputs of many kinds are there
            under the names of `world.py`.
        given: what makes the bad input: one function or several.
        says: a regular expression that is found in the error's line; with exit code 0, in anything that is printed.
        code: the exit code.
        leaves: the names of new files and folders; nothing else may be new, and nothing that was there may change.
        changes: the names of files and folders that were there and may change.
        then: the command line that has to succeed afterwards, the remedy of the error; QUOTED for the one that stands
            in the error's line.
        check: looks at what is left.
        unprivileged: whether permissions apply to the command even where the tests run as root.
        at_most: the memory by which the process may grow, in MiB; None where that is not looked at.
    """

    line: str
    given: Make | tuple[Make, ...] = ()
    says: str = ""
    code: int = 1
    leaves: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    then: str = ""
    check: Callable[[Place], None] | None = None
    unprivileged: bool = False
    at_most: int | None = None
    makers: tuple[Make, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        makers = self.given if isinstance(self.given, tuple) else (self.given,)
        object.__setattr__(self, "makers", makers)

    def __str__(self) -> str:
        text = self.line if len(self.line) <= 90 else f"{self.line[:60]}...{self.line[-25:]}"
        made = " ".join(getattr(maker, "made", maker.__name__) for maker in self.makers)
        return text + (f" # {made[:60]}" if made else "")


def parsed(line: str) -> tuple[Mapping[str, str], str, list[str]]:
    """Split a command line into variables, command and arguments."""
    words = shlex.split(line)
    variables: dict[str, str] = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    return variables, words[0], words[1:]
