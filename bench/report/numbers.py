"""Figures for people: as many digits as they are worth."""

from __future__ import annotations

import math

from reid.bench.records import Estimate

__all__ = ["estimated", "figure", "plural"]

_DIGITS = 3
"""Significant digits of a figure without an interval."""
_MOST_DIGITS = 5
"""Significant digits of a figure with a very narrow one."""
_LOPSIDED = 1.5
"""An interval is written with both of its ends where one arm is so many times as long as the other."""


def figure(value: float, digits: int = _DIGITS) -> str:
    """Return a number with three significant digits, or its whole part where that has more: 1,234; 41.2; 0.0412."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{_decimals(value, digits)}f}"


def estimated(one: Estimate) -> str:
    """Return a figure with its interval: "412 ± 9", or "412 (405 to 440)" where that is lopsided."""
    arms = sorted((one.value - one.low, one.high - one.value))
    if arms[1] <= 0:
        return figure(one.value)
    decimals = min(_decimals_of_spread(arms[1]), _decimals(one.value or 1, _MOST_DIGITS))
    value, arm = f"{one.value:,.{decimals}f}", f"{arms[1]:,.{decimals}f}"
    if not arm.strip("0."):
        return value
    if arms[1] <= _LOPSIDED * arms[0] and arms[1] < one.value:
        return f"{value} ± {arm}"
    return f"{value} ({one.low:,.{decimals}f} to {one.high:,.{decimals}f})"


def plural(count: int, noun: str) -> str:
    """Return a number with its noun: "1 camera", "2 cameras", "2 batches"."""
    ending = "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{'' if count == 1 else ending}"


def _decimals(value: float, digits: int) -> int:
    """Return the decimal places that leave so many significant digits, after rounding: 99.96 becomes 100."""
    rounded = float(f"{value:.{digits - 1}e}")
    return max(0, digits - 1 - math.floor(math.log10(abs(rounded))))


def _decimals_of_spread(arm: float) -> int:
    """Return the decimal places of an interval's arm: two digits where the first is a 1 or 2, else one."""
    rounded = f"{arm:.0e}"
    return max(0, (1 if rounded[0] in "12" else 0) - int(rounded.partition("e")[2]))
