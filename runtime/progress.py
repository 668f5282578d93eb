"""How long work takes: one interface for the command line's bars, for services, and for tests."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["SILENT", "Nesting", "Noting", "Progress", "nested", "note"]


class Progress(Protocol):
    """Follows work that consists of one stage after another."""

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        """Begin a stage; the stage before it has ended.

        Args:
            stage: the work that is being done, for people: "embedding".
            total: the number of steps in the stage.
            unit: the name of a step, in the plural.
        """
        ...

    def advance(self, steps: int = 1) -> None:
        """Count steps of the current stage as done."""
        ...


class _Silent:
    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass


SILENT: Progress = _Silent()
"""Shows nothing."""


@runtime_checkable
class Nesting(Protocol):
    """A progress that can also follow the stages within a step."""

    def within(self) -> Progress:
        """Return what follows the stages within the current step; the current stage goes on."""
        ...


def nested(progress: Progress) -> Progress:
    """Return what follows the stages within a step of the current stage: nothing, where `progress` cannot show them."""
    return progress.within() if isinstance(progress, Nesting) else SILENT


@runtime_checkable
class Noting(Protocol):
    """A progress that can also say something about the current stage."""

    def note(self, text: str) -> None:
        """Show a few words in place of those before, such as "limited by decoding"."""
        ...


def note(progress: Progress, text: str) -> None:
    """Say something about the current stage, where `progress` can show it."""
    if isinstance(progress, Noting):
        progress.note(text)
