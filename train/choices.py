"""The names that settings choose from, free of imports, so that a command can list them without delay."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["IdentityLossName", "LossName", "PoolingName", "RecipeName"]

RecipeName: TypeAlias = Literal["poster", "strong"]
LossName: TypeAlias = Literal["triplet", "ssl", "rll"]
IdentityLossName: TypeAlias = Literal["softmax", "cosface", "circle"]
PoolingName: TypeAlias = Literal["max", "avg", "gem", "max+avg", "max+gem"]
