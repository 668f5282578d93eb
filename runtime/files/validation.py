"""Stored facts: read from JSON at one place, and what is wrong with them in a few words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from reid.runtime.errors import ModelError, ReidError
from reid.runtime.files.reading import MEBIBYTE, read_file

__all__ = ["JSON_AT_MOST", "first_problem", "parse_object", "parse_stored", "read_stored", "refuse_newer"]

JSON_AT_MOST = 64 * MEBIBYTE
"""The largest JSON file that is read; the largest that reid writes, the scale file of a deep network, has a few MiB."""

Stored = TypeVar("Stored", bound=BaseModel)


def read_stored(
    model: type[Stored], path: Path, *, what: str, remedy: str, error: type[ReidError] = ModelError
) -> Stored:
    """Read a JSON file into its model.

    Args:
        model: the model of what is stored.
        path: the file.
        what: what the file holds, as messages name it: "model card".
        remedy: what to do where it cannot be used.
        error: the error to raise.

    Raises:
        ReidError: of the type `error`: the file cannot be read, or holds something else.
    """
    try:
        content = read_file(path, at_most=JSON_AT_MOST)
    except OSError as reason:
        raise error(f"{path}: {reason.strerror}; {remedy}") from None
    return parse_stored(model, content, path, what=what, remedy=remedy, error=error)


def parse_stored(
    model: type[Stored],
    content: str | bytes,
    source: Path,
    *,
    what: str,
    remedy: str,
    error: type[ReidError] = ModelError,
) -> Stored:
    """Parse JSON into its model; `source` is the file that messages name, the rest is as in read_stored."""
    try:
        return model.model_validate_json(content)
    except ValidationError as problem:
        reason = first_problem(problem)
    raise error(f"{source}: the {what} is not valid ({reason}); {remedy}")


def parse_object(
    content: str | bytes, source: Path, *, what: str, remedy: str, error: type[ReidError] = ModelError
) -> dict[str, Any]:
    """Parse a JSON object whose form depends on what is in it; arguments are those of parse_stored."""
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError) as problem:
        reason = " ".join(str(problem).split())
    else:
        if isinstance(facts, dict):
            return facts
        reason = "it is not an object"
    raise error(f"{source}: the {what} is not valid ({reason}); {remedy}")


def refuse_newer(stored: Any, known: int) -> Any:  # noqa: ANN401 - whatever the JSON holds
    """Return what was stored, unless it is of a format that comes after the newest known one.

    Raises:
        ValueError: it is.
    """
    version = stored.get("format_version") if isinstance(stored, dict) else None
    if isinstance(version, int) and version > known:
        raise ValueError(f"format version {version} is newer than {known}: update reid")
    return stored


def first_problem(error: ValidationError) -> str:
    """Return the first problem that a validation found, in one line: where it is, and what is wrong."""
    first = error.errors()[0]
    where = ".".join(str(part)[:80] for part in first["loc"])
    what = " ".join(first["msg"].removeprefix("Value error, ").split())[:300]
    return f"{where}: {what}" if where else what
