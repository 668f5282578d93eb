"""The results of a long measurement so far, so that it resumes where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reid.runtime.storage import atomic_write

__all__ = ["Journal"]


class Journal:
    """Results by key, in one file that is whole after every entry.

    Args:
        path: the file; None keeps the results in memory only.
        facts: the facts that the results depend on. A journal with other facts, or a damaged one, starts empty.
    """

    def __init__(self, path: Path | None, facts: Mapping[str, Any]) -> None:
        self._path = path
        self._facts = json.loads(json.dumps(facts))
        self._entries: dict[str, Any] = self._stored()

    def _stored(self) -> dict[str, Any]:
        try:
            stored = json.loads(self._path.read_bytes()) if self._path else {}
        except (OSError, ValueError):
            return {}
        if not isinstance(stored, dict) or stored.get("facts") != self._facts:
            return {}
        entries = stored.get("entries")
        return entries if isinstance(entries, dict) else {}

    def __len__(self) -> int:
        """Return the number of results."""
        return len(self._entries)

    def remember(self, key: str, measure: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """Return the result stored under `key`; if there is none, measure and store it."""
        if key not in self._entries:
            self._entries[key] = json.loads(json.dumps(measure()))
            if self._path:
                content = {"facts": self._facts, "entries": self._entries}
                self._path.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(self._path, json.dumps(content).encode())
        return self._entries[key]
