"""How often workers began a part: one that kills each of them has to be named, and not be tried for ever."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from reid.runtime.errors import DataError

__all__ = ["TRIES", "counted_try"]

TRIES = ".tries"
"""The suffix of the file that has a byte for each try of a part."""

_MOST = 5


@contextlib.contextmanager
def counted_try(part: Path, first: str) -> Iterator[None]:
    """Count a try of a part, and forget all of them when it ends, well or with an error. Raises DataError after five.

    Args:
        part: the part's file.
        first: the name of its first tracklet.
    """
    file = part.with_name(f"{part.name}{TRIES}")
    with file.open("ab") as tries:
        if tries.tell() >= _MOST:
            raise DataError(f"{_MOST} workers died embedding {first!r} or what follows it; give workers more memory")
        tries.write(b".")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
