"""What people and scripts write where an integer is wanted."""

from __future__ import annotations

__all__ = ["FAR", "NO_INTEGERS"]

FAR = "1" + "0" * 30
"""1e30 written out."""

NO_INTEGERS = ("-1", FAR, "9" * 5000, "1e3", "1.5", "nan", "''", "\u0663", "' '")
"""Refused wherever -1 is."""
