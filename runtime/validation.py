"""What is wrong with stored facts, in a few words."""

from __future__ import annotations

from pydantic import ValidationError

__all__ = ["first_problem"]


def first_problem(error: ValidationError) -> str:
    """Return the first problem that a validation found, in one line: where it is, and what is wrong."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    what = " ".join(first["msg"].removeprefix("Value error, ").split())
    return f"{where}: {what}" if where else what
