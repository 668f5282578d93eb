"""Frames that say which they are, and a session that remembers which it has embedded: what a stream that drops frames
should have made of the others can be computed without it."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from projection import HEIGHT, WIDTH, ProjectionSession

from reid.runtime.sessions.session import BatchLimits, Embeddings

__all__ = ["RememberingSession", "numbered_frame"]


def numbered_frame(camera: int, track: int, number: int) -> NDArray[np.uint8]:
    """Return a crop of the projection's size that nothing else has."""
    pixels = np.random.default_rng((camera, track, number)).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    pixels[0, 0] = camera, track >> 8, track & 255
    pixels[0, 1] = number >> 16, number >> 8 & 255, number & 255
    return pixels


@dataclass(eq=False)
class RememberingSession(ProjectionSession):
    """Embeds numbered frames, and waits for `goes_on` before each batch.

    Attributes:
        embedded: (camera, track) -> the numbers of the frames that were embedded, in order.
        goes_on: cleared by a test that wants the session to stand still.
    """

    limits: BatchLimits = BatchLimits(8, 8)  # noqa: RUF009 - frozen
    embedded: dict[tuple[int, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    goes_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(self.limits)
        self.goes_on.set()

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        assert self.goes_on.wait(10)
        counted = frames[pooling.any(axis=0)]  # the others could not be read
        for (camera, high, low), (top, middle, bottom) in counted.transpose(0, 2, 3, 1)[:, 0, :2].tolist():
            self.embedded[camera, high << 8 | low].append(top << 16 | middle << 8 | bottom)
        return super().compute(frames, pooling)

    def expected(self, camera: int, track: int) -> NDArray[np.float64]:
        """Return the normalized mean of the frames of a track that were embedded."""
        numbers = self.embedded[camera, track]
        total = np.sum([self.embed_frame(numbered_frame(camera, track, number)) for number in numbers], axis=0)
        return np.asarray(total / np.linalg.norm(total))
