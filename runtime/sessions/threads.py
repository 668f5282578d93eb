"""The number of threads that a session may use on a CPU."""

from __future__ import annotations

import os
import re

from reid.runtime.environment import environment_integer
from reid.runtime.errors import ReidError

__all__ = ["thread_limit"]

_VARIABLE, _MOST = "OMP_NUM_THREADS", 1024

_LIST = re.compile(r"\s*[1-9]\d{0,3}\s*(,\s*[1-9]\d{0,3}\s*)+", re.ASCII)
"""OpenMP takes a number for each level of nested parallelism; sessions have one level."""


def thread_limit() -> int:
    """Return the limit that OMP_NUM_THREADS sets, which numpy and PyTorch follow, too; 0 if it sets none.

    Raises:
        ReidError: it is no number of threads, or no list of such numbers. OpenMP ignores what it cannot read, and
            would take every core where fewer were meant.
    """
    text = os.environ.get(_VARIABLE, "")
    if "," not in text:
        return environment_integer(_VARIABLE, default=0, least=1, most=_MOST)
    outermost = int(text.partition(",")[0]) if _LIST.fullmatch(text) else 0
    if not 1 <= outermost <= _MOST:
        raise ReidError(f"{_VARIABLE} is {text[:40]!r}: set it to integers from 1 to {_MOST}, or unset it")
    return outermost
