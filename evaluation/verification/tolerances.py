"""Reading tolerances from a file."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from reid.evaluation.verification.records import Tolerance
from reid.runtime.errors import DataError
from reid.runtime.validation import first_problem

__all__ = ["read_tolerance"]

_EXAMPLE = '{"map": 0.5, "rank": 0.5, "similarity": 0.99}'


def read_tolerance(path: Path) -> Tolerance:
    """Read a tolerance from a JSON object with the fields of `Tolerance`; a field that is left out keeps its default.

    Raises:
        DataError: the file cannot be read, is not such JSON, or a value is out of range.
    """
    try:
        return Tolerance.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a JSON file like {_EXAMPLE}") from None
    except ValidationError as error:
        raise DataError(f"{path} is not a valid tolerance ({first_problem(error)}); write it like {_EXAMPLE}") from None
