"""How often chance alone makes a difference this large: Student's t, and Holm's correction for many tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["holm", "t_p_value"]

_MOST_FREEDOM = 200.0
"""More degrees of freedom count as this many, which errs on the side of caution and keeps the integral accurate."""

_STEPS = 4001
"""Odd, for Simpson's rule."""


def t_p_value(t: float, freedom: float) -> float:
    """Return the probability that Student's t is at least as far from 0, on either side.

    With t = sqrt(freedom) * tan(a), the density becomes a power of cos(a), which is integrated by Simpson's rule.

    Args:
        t: the difference divided by its standard error.
        freedom: the degrees of freedom, at least 1; any real number (Welch and Satterthwaite).
    """
    freedom = min(freedom, _MOST_FREEDOM)
    angles = np.linspace(math.atan(abs(t) / math.sqrt(freedom)), math.pi / 2, _STEPS)
    values = np.maximum(np.cos(angles), 0.0) ** (freedom - 1)
    weights = np.ones(_STEPS)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    area = float(weights @ values) * (angles[1] - angles[0]) / 3
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(math.pi)
    return min(1.0, 2 * math.exp(scale) * float(area))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number: below a rate, one of any unchanged quantity is as rare as that.

    Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 1979.
    """
    corrected, highest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected
