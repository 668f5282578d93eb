"""The results of a long measurement so far, so that it resumes where it was stopped."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from reid.runtime.errors import ReidError
from reid.runtime.files.reading import read_file
from reid.runtime.files.storage import atomic_write
from reid.runtime.files.validation import JSON_AT_MOST, first_problem, parse_object

__all__ = ["Journal", "check_journal", "remove_journal"]

_REMEDY = "move it elsewhere, or choose another --output"

Result = TypeVar("Result")


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    facts: dict[str, JsonValue]
    entries: dict[str, JsonValue]


class Journal:
    """Results by key, in one file that is whole after every entry.

    Args:
        path: the file; None keeps the results in memory only.
        facts: the facts that the results depend on. A journal with other facts starts empty.

    Raises:
        ReidError: there is a file that is not a journal of this user.
    """

    def __init__(self, path: Path | None, facts: Mapping[str, Any]) -> None:
        self._path = path
        self._facts: dict[str, Any] = json.loads(json.dumps(facts))
        stored = _read(path)
        self._entries: dict[str, Any] = stored.entries if stored and stored.facts == self._facts else {}

    def __len__(self) -> int:
        """Return the number of results."""
        return len(self._entries)

    def remember(self, key: str, kind: type[Result], measure: Callable[[], Result]) -> Result:
        """Return the result stored under `key`; if there is none, measure and store it.

        Args:
            key: the name of the result.
            kind: the type of the result, which pydantic makes of JSON.
            measure: returns the result.

        Raises:
            ReidError: what is stored is no such result.
        """
        adapter = TypeAdapter(kind)
        if key not in self._entries:
            self._entries[key] = adapter.dump_python(measure(), mode="json")
            if self._path:
                content = {"facts": self._facts, "entries": self._entries}
                self._path.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(self._path, json.dumps(content).encode())
        try:
            return adapter.validate_python(self._entries[key])
        except ValidationError as error:
            reason = first_problem(error)
        raise ReidError(f"{self._path}: {key[:80]!r} is damaged ({reason}); remove the file to measure again")


def check_journal(path: Path | None) -> None:
    """Refuse a file that is not this user's journal, before any work: a journal is replaced, and removed in the end.

    Raises:
        ReidError: there is such a file.
    """
    _read(path)


def remove_journal(path: Path | None) -> None:
    """Remove a journal that is no longer needed; what is not a journal stays."""
    with contextlib.suppress(ReidError):
        if path is not None and _read(path) is not None:
            path.unlink(missing_ok=True)


def _read(path: Path | None) -> _Stored | None:
    if path is None or not os.path.lexists(path):
        return None
    if os.lstat(path).st_uid != os.geteuid():
        raise ReidError(f"{path} belongs to another user; {_REMEDY}")
    try:
        content = read_file(path, at_most=JSON_AT_MOST)
    except OSError as error:
        raise ReidError(f"{path}: {error.strerror}; {_REMEDY}") from None
    # Not by pydantic's parser: the names of images need not be UTF-8.
    facts = parse_object(content, path, what="journal of measurements", remedy=_REMEDY, error=ReidError)
    try:
        return _Stored.model_validate(facts)
    except ValidationError as error:
        reason = first_problem(error)
    raise ReidError(f"{path} is not a journal of measurements ({reason}); {_REMEDY}")
