"""The machine and its software: everything besides the code that a time depends on."""

from __future__ import annotations

from reid.bench.records import Record

__all__ = ["Environment"]


class Environment(Record):
    """The machine and its software."""
