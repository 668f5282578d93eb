"""A track on its way through the pipeline: what has been embedded of it so far."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reid.runtime.normalization import normalize

__all__ = ["Track", "Unreadable"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A frame that was left out, and the reason."""

    frame_index: int
    reason: str


@dataclass(slots=True, eq=False)
class Track:
    """A track whose frames are being embedded.

    Attributes:
        name: the name that its events have.
        received: the number of its frames so far, unreadable ones included.
        embedded: the number of its frames that have been embedded so far.
        pooled: the weighted sum of its frames' embeddings, float64 [D], since a track may last for days; the plain sum
            as long as none of them weighs anything; None before the first. It is replaced, never changed, so that any
            thread may read it while the track goes on.
        weight: the sum of its frames' weights.
        looks: the sum of what was measured of its frames, float64 [F]; None where nothing is, and before the first.
        frames: the embedding of each frame, float32 [D], by its index; empty unless asked for.
        unreadable: the frames that were left out, since they could not be read or weighed, in order.
    """

    name: Hashable
    received: int = 0
    embedded: int = 0
    pooled: NDArray[np.float64] | None = None
    weight: float = 0.0
    looks: NDArray[np.float64] | None = None
    frames: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def embedding(self) -> NDArray[np.float32] | None:
        """The track's embedding so far, float32 [D], L2-normalized; None if no frame could be read."""
        return None if self.pooled is None else normalize(self.pooled.astype(np.float32))

    def add(self, pooled: NDArray[np.float32], weight: float, frames: int) -> None:
        """Add some more frames.

        Args:
            pooled: their weighted sum, float32 [D]; the plain sum where they weigh nothing.
            weight: the sum of their weights.
            frames: their number.
        """
        if self.pooled is None or (weight and not self.weight):
            self.pooled = pooled.astype(np.float64)
        elif weight or not self.weight:
            self.pooled = self.pooled + pooled
        self.weight += weight
        self.embedded += frames

    def look(self, looks: NDArray[np.float64]) -> None:
        """Add the sum of what was measured of some more frames, float64 [F]."""
        self.looks = looks if self.looks is None else self.looks + looks
