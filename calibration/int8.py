"""INT8 as it is used throughout: symmetric, so that a scale is all that describes a quantizer."""

from __future__ import annotations

__all__ = ["INT8_MAX"]

INT8_MAX = 127
"""Integers run from -127 to 127: a tensor whose range ends at `amax` has the scale `amax / 127`."""
