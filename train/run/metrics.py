"""`metrics.jsonl`: a row for every epoch of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reid.runtime.errors import ReidError
from reid.runtime.files.reading import MEBIBYTE, read_file
from reid.runtime.files.storage import atomic_write
from reid.runtime.files.validation import parse_object

__all__ = ["METRICS_FILE", "read_rows", "write_rows"]

METRICS_FILE = "metrics.jsonl"

_AT_MOST = 256 * MEBIBYTE
_REMEDY = "move the file elsewhere; the run does not depend on it"


def read_rows(run: Path, *, at_most: int | None = None) -> list[dict[str, Any]]:
    """Read the rows of the first epochs of a run; none if it has no such file.

    Args:
        run: the run's folder.
        at_most: the number of rows to read; None for all. What follows them is not looked at.

    Raises:
        ReidError: the file cannot be read, or a row is not a JSON object.
    """
    file = run / METRICS_FILE
    try:
        content = read_file(file, at_most=_AT_MOST)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ReidError(f"{file}: {error.strerror}; {_REMEDY}") from None
    lines = content.splitlines()[:at_most]
    return [parse_object(line, file, what="row of metrics", remedy=_REMEDY, error=ReidError) for line in lines]


def write_rows(run: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of all epochs so far; the file is replaced as a whole."""
    atomic_write(run / METRICS_FILE, "".join(f"{json.dumps(row)}\n" for row in rows).encode())
