"""Who is told how an export goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SILENT", "Watcher"]


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
