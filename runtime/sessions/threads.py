"""How many threads a session may use on a CPU."""

from __future__ import annotations

import os

__all__ = ["thread_limit"]


def thread_limit() -> int:
    """Give what OMP_NUM_THREADS says, which limits numpy and PyTorch, too; 0 where it says nothing."""
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(threads) if threads.isdecimal() else 0
