"""Where everything is in a segment's file: it follows from the numbers of rows and of bytes of its texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reid.runtime.galleries.store.manifest import TextSizes

__all__ = ["ALIGNMENT", "Layout", "Section"]

ALIGNMENT = 64
"""Every section begins at a multiple of so many bytes: of a cache line."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a segment's file.

    Attributes:
        start: its first byte.
        dtype: the type of its numbers.
        count: how many numbers it has.
    """

    start: int
    dtype: np.dtype[Any]
    count: int

    @property
    def stop(self) -> int:
        """The byte after its last."""
        return self.start + self.count * self.dtype.itemsize


class Layout:
    """The sections of a segment's file, in their order.

    Attributes:
        sections: the sections, by name.
        size: the bytes of the file, without checksums.
        facts: all of this as bytes, to be sealed with the checksums.
    """

    def __init__(self, rows: int, dimensions: int, dtype: np.dtype[Any], texts: TextSizes) -> None:
        start = 0
        self.sections: dict[str, Section] = {}
        for name, kind, count in (
            ("embeddings", dtype, rows * dimensions),
            ("time_s", "<f8", rows),
            ("camera", "<i4", rows),
            ("frames", "<i4", rows),
            ("hashes", "<u8", rows),  # of ids, ascending
            ("hashed", "<i4", rows),  # the row that each belongs to
            ("ids.ends", "<i8", rows),
            ("vehicles.ends", "<i8", rows),
            ("pictures.ends", "<i8", rows),
            ("ids", "u1", texts.ids),
            ("vehicles", "u1", texts.vehicles),
            ("pictures", "u1", texts.pictures),
            ("cameras", "u1", texts.cameras),  # their names, as JSON
        ):
            self.sections[name] = section = Section(start, np.dtype(kind), count)
            start = -(-section.stop // ALIGNMENT) * ALIGNMENT
        self.size = section.stop
        self.facts = repr([(name, one.dtype.str, one.count) for name, one in self.sections.items()]).encode()
