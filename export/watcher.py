"""Who is told how an export goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SILENT", "FrameCounter", "Watcher"]


@dataclass(frozen=True, slots=True)
class Watcher:
    """What an export calls while it works.

    Attributes:
        on_progress: called with (what it does, done, all).
        on_note: called with a sentence for people.
    """

    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None
    on_note: Callable[[str], None] = lambda sentence: None


SILENT = Watcher()
"""Tells nobody."""


class FrameCounter:
    """A `Progress` that calls a function of (done, all)."""

    def __init__(self, on_frames: Callable[[int, int], None]) -> None:
        self._on_frames = on_frames
        self._done = self._total = 0

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        """See Progress.begin."""
        self._done, self._total = 0, total

    def advance(self, steps: int = 1) -> None:
        """See Progress.advance."""
        self._done += steps
        self._on_frames(self._done, self._total)
