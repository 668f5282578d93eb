"""The settings that SSL and RLL share, and their valid ranges."""

from __future__ import annotations

import math

__all__ = ["check_boundary"]


def check_boundary(alpha: float, margin: float, balance: float) -> None:
    """Refuse settings for which positives (within alpha - margin) or negatives (beyond alpha) make no sense.

    Raises:
        ValueError: a setting is out of range; the message names the first.
    """
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha is {alpha}: it must be positive and finite")
    if not 0 <= margin <= alpha:
        raise ValueError(f"margin is {margin}: it must lie between 0 and alpha, {alpha}")
    if not 0 <= balance <= 1:
        raise ValueError(f"balance is {balance}: it must lie between 0 and 1")
