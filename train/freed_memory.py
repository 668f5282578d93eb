"""What the process does with memory that it has freed."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc reuse freed memory in place of returning it to the system; call this before much is allocated.

    Otherwise every feature map of every step on a CPU is mapped anew, and the system clears each of its pages first:
    a tenth of a step's time, and several tenths where two runs share a machine.

    Returns:
        Whether the C library is glibc, so that it could be told.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    mallopt = library.mallopt  # type: ignore[union-attr]
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _LARGEST))
