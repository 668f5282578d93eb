"""Who is told how an INT8 search goes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from reid.runtime.progress import Progress

__all__ = ["SILENT", "Watcher", "watcher_of"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Watcher:
    """What a search calls while it works.

    Attributes:
        on_progress: called with (what it does, done, all).
        on_note: called with a sentence for people.
    """

    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None
    on_note: Callable[[str], None] = lambda sentence: None


SILENT = Watcher()
"""Discards everything."""


def watcher_of(progress: Progress) -> Watcher:
    """Make a watcher that advances a progress and logs notes."""
    current: tuple[str, int] = ("", 0)

    def on_progress(what: str, done: int, total: int) -> None:
        nonlocal current
        if (what, done) < current or what != current[0]:
            progress.begin(what, total, "steps")
            current = (what, 0)
        progress.advance(done - current[1])
        current = (what, done)

    return Watcher(on_progress, logger.info)
