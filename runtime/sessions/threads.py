"""The number of threads that a session may use on a CPU."""

from __future__ import annotations

import os

__all__ = ["thread_limit"]


def thread_limit() -> int:
    """Return the limit that OMP_NUM_THREADS sets, which numpy and PyTorch follow, too; 0 if it sets none."""
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(threads) if threads.isdecimal() else 0
