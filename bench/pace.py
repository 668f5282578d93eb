"""How fast the machine itself is at a moment: the time of a computation that never changes, taken before every turn.

The host of a virtual machine may change its speed from one minute to the next, without a trace in any counter of the
guest: one with two cores had two speeds, 1.45 apart, for minutes each. No turn tells that from a change of the code.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np

__all__ = ["pace_ms"]

_SIDE: Final = 96
_TIMES: Final = 5

_MATRIX: Final = np.random.default_rng(0).standard_normal((_SIDE, _SIDE)).astype(np.float32)


def pace_ms() -> float:
    """Return the shortest of a few times of a small product, in milliseconds.

    All together take about a millisecond, in one thread: it is numpy's own loop, which depends on no BLAS.
    """
    times = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        np.einsum("ij,kj->ik", _MATRIX, _MATRIX)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)
