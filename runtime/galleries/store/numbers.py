"""Numbers as they are stored, and as they are computed with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_float32"]

_RUN = 1 << 15
"""Numbers at a time: their intermediate values stay in the cache."""


def as_float32(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Return finite numbers, [N, D], as float32; without a copy where they are float32.

    NumPy converts halves one by one. Shifted to where float32 has its bits, they are right but for the exponent's bias,
    which is a factor of 2^112, exact for subnormal halves, too.
    """
    if stored.dtype == np.float32:
        return stored
    result = np.empty(stored.shape, np.float32)
    halves, bits = np.ascontiguousarray(stored).reshape(-1).view(np.int16), result.reshape(-1).view(np.int32)
    for start in range(0, len(bits), _RUN):
        part = bits[start : start + _RUN]
        part[:] = halves[start : start + _RUN]  # the sign fills the upper half
        part <<= 13
        part &= np.int32(-0x70002000)  # 0x8FFFE000: sign, five bits of exponent, ten of mantissa
        floats = part.view(np.float32)
        floats *= np.float32(2.0**112)
    return result
