"""The precisions in which a model is deployed."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

__all__ = ["PRECISIONS", "Precision"]

Precision: TypeAlias = Literal["fp32", "fp16", "int8"]
"""Precision of a graph: what the types in the graph say, never a flag of a builder."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""In the order in which each graph is made from the one before."""
