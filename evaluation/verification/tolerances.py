"""Reading tolerances from a file."""

from __future__ import annotations

from pathlib import Path

from reid.evaluation.verification.records import Tolerance
from reid.runtime.errors import DataError
from reid.runtime.files.validation import read_stored

__all__ = ["read_tolerance"]

_REMEDY = (
    'give a JSON file like {"map": 0.5, "rank": 0.5, "similarity": 0.99, "int8_similarity": 0.9, "match": 1, '
    '"false_match": 2}'
)


def read_tolerance(path: Path) -> Tolerance:
    """Read a tolerance from a JSON object with the fields of `Tolerance`; a field that is left out keeps its default.

    Raises:
        DataError: the file cannot be read, is not such JSON, or a value is out of range.
    """
    return read_stored(Tolerance, path, what="tolerance", remedy=_REMEDY, error=DataError)
