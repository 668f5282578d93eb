"""The names that settings choose from, free of imports, so that a command can list them without delay."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["IbnName", "IdentityLossName", "LossName", "PoolingName", "RecipeName", "current_ibn"]

RecipeName: TypeAlias = Literal["poster", "strong"]
LossName: TypeAlias = Literal["triplet", "ssl", "rll"]
IbnName: TypeAlias = Literal["none", "a", "b"]
IdentityLossName: TypeAlias = Literal["softmax", "cosface", "arcface", "circle"]
PoolingName: TypeAlias = Literal["max", "avg", "gem", "max+avg", "max+gem"]


def current_ibn(value: object) -> object:
    """Return the kind of instance-batch normalization that a switch of reid 0.1 meant; anything else unchanged."""
    former: dict[str, IbnName] = {"false": "none", "true": "a"}
    return former.get(str(value).lower(), value) if isinstance(value, bool | str) else value
