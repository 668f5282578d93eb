"""How long work takes: one interface for the command line's bars, for services, and for tests."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SILENT", "Progress"]


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
