"""A session that is fast and exactly known: a frame's embedding is a fixed random projection of its pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reid.runtime.model_card import Level, ModelCard, Preprocessing
from reid.runtime.sessions.session import DEFAULT_LIMITS, BatchLimits, Embeddings, SessionInfo

__all__ = ["DIMENSIONS", "HEIGHT", "WIDTH", "ProjectionSession", "crop"]

HEIGHT, WIDTH, DIMENSIONS = 3, 5, 8


def crop(number: int) -> NDArray[np.uint8]:
    """Return a crop of the session's size, which resizing leaves alone; each number has its own."""
    return np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


class ProjectionSession:
    """Embeds frames, and remembers the sizes of its batches."""

    def __init__(self, limits: BatchLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        half = (0.5, 0.5, 0.5)
        card = ModelCard(
            format_version=1,
            fingerprint="projection",
            backbone="none",
            levels=(Level(name="level0", size=DIMENSIONS),),
            preprocessing=Preprocessing(height=HEIGHT, width=WIDTH, mean=half, std=half),
        )
        self.info = SessionInfo("projection", "1", "CPU", "fp32", card)
        self.batch_sizes: list[int] = []
        self.row_counts: list[int] = []
        self._matrix = np.random.default_rng(3).normal(size=(3 * HEIGHT * WIDTH, DIMENSIONS))

    def embed_frame(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return what `compute` gives for one crop [H, W, 3], in double precision."""
        projected = (pixels.transpose(2, 0, 1).reshape(-1) / 255.0 - 0.5) @ self._matrix
        return np.asarray(projected / np.linalg.norm(projected), np.float64)

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        self.batch_sizes.append(len(frames))
        self.row_counts.append(len(pooling))
        embeddings = np.stack([self.embed_frame(frame.transpose(1, 2, 0)) for frame in frames]).astype(np.float32)
        return Embeddings(embeddings, pooling @ embeddings)

    def close(self) -> None: ...

    def __enter__(self) -> ProjectionSession:
        return self

    def __exit__(self, *exception: object) -> None: ...
