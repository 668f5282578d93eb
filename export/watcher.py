"""Who is told how an export goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reid.runtime.progress import Progress

__all__ = ["SILENT", "Watcher", "on_frames", "progress_of"]


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


def progress_of(watcher: Watcher) -> Progress:
    """Return a Progress that tells a watcher."""
    return _Told(watcher)


class _Told:
    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._stage, self._done, self._total = "", 0, 0

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        self._stage, self._done, self._total = stage, 0, total

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        self._watcher.on_progress(self._stage, self._done, self._total)


def on_frames(progress: Progress, stage: str) -> Callable[[int, int], None]:
    """Return a function of (frames done, frames in all) that begins a stage of `progress` and advances it."""
    counted = 0

    def count(done: int, total: int) -> None:
        nonlocal counted
        if not counted:
            progress.begin(stage, total)
        progress.advance(done - counted)
        counted = done

    return count
