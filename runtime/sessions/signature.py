"""What a fused graph takes and returns, compared with what a backend found in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reid.runtime.errors import ModelError
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
from reid.runtime.model_card import ModelCard

__all__ = ["Array", "check_signature"]


@dataclass(frozen=True, slots=True)
class Array:
    """An input or output.

    Attributes:
        dtype: its type, as numpy calls it: "uint8".
        shape: its sizes; None for one that differs from batch to batch. None in all for an unknown rank.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        """Return the array for people: "uint8 [*, 3, 64, 64]"."""
        sizes = "..." if self.shape is None else ", ".join("*" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} [{sizes}]"


def check_signature(inputs: Mapping[str, Array], outputs: Mapping[str, Array], card: ModelCard, graph: Path) -> None:
    """Check that a graph can be run: that it takes batches of any size, of its card's pictures, and embeds them.

    Raises:
        ModelError: an input or output is missing or different, or there is an input too many.
    """
    size = card.preprocessing
    takes = {FRAMES: Array("uint8", (None, 3, size.height, size.width)), POOLING: Array("float32", (None, None))}
    returns = dict.fromkeys((FRAME_EMBEDDING, POOLED), Array("float32", (None, card.dimensions)))
    for kind, expected, found in (("input", takes, inputs), ("output", returns, outputs)):
        for name, array in expected.items():
            if name not in found or not _fits(found[name], array):
                what = f"is {found[name]}" if name in found else "is missing"
                raise ModelError(f"{graph}: the {kind} {name} {what}, instead of {array}; export it again")
    if unknown := sorted(inputs.keys() - takes.keys()):
        raise ModelError(f"{graph} has an input {unknown[0][:80]!r}, which nothing would fill; export it again")


def _fits(found: Array, expected: Array) -> bool:
    """Return whether an array is what is expected, as far as its sizes are known before there is a batch."""
    if found.dtype != expected.dtype or found.shape is None or expected.shape is None:
        return False
    return len(found.shape) == len(expected.shape) and all(
        size is None or size == wanted for size, wanted in zip(found.shape, expected.shape, strict=True)
    )
