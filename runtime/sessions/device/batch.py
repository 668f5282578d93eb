"""A batch in a GPU's memory, and what runs it there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reid.runtime.cuda import Stream
from reid.runtime.engine_card import Profile
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING

__all__ = ["TENSORS", "Batch", "Computes", "Runs"]

TENSORS = (FRAMES, POOLING, FRAME_EMBEDDING, POOLED)
"""The tensors of every engine."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch in the device's memory.

    Attributes:
        profile: the profile to run it with.
        frames: the number of frames, N.
        tracklets: the number of rows of `pooling`, T.
        addresses: where the TENSORS are, in their order.
    """

    profile: int
    frames: int
    tracklets: int
    addresses: tuple[int, int, int, int]


class Runs(Protocol):
    """What runs batches: an engine's Graphs, or a graph in ONNX Runtime."""

    def run(self, batch: Batch) -> None:
        """Put a batch on the stream. Raises DeviceMemoryError or SessionError where that fails."""
        ...


class Computes(Protocol):
    """What enqueues batches: an engine's Contexts, or a graph in ONNX Runtime."""

    @property
    def profiles(self) -> Sequence[Profile]:
        """The sizes of batches that it takes."""
        ...

    @property
    def stream(self) -> Stream:
        """The stream that it computes on."""
        ...

    def profile_for(self, frames: int, tracklets: int) -> int:
        """Return the profile that takes a batch. Raises SessionError where none does."""
        ...

    def enqueue(self, batch: Batch) -> None:
        """Put a batch on the stream. Raises DeviceMemoryError or SessionError where that fails."""
        ...
