"""Which frames of a track are worth an embedding: neighbors look alike, and a mean settles.

What each policy costs in mAP, and what it saves, benchmarks/frame_policies.py measures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.ranking import exact_distances

__all__ = ["EveryFrame", "FrameChooser", "FramePolicy", "OnChange", "UntilSettled"]

_THUMBNAIL = (16, 16)


class FrameChooser(Protocol):
    """Chooses frames of one track, in the order in which they arrive. The first is always chosen."""

    def wants(self, crop: NDArray[np.uint8]) -> bool:
        """Return whether the track's next frame, uint8 RGB [h, w, 3], is worth an embedding."""
        ...

    def took(self, embedding: NDArray[np.float32], frames: int) -> None:
        """Take note of the track's embedding so far.

        Embeddings come in batches: it may come after several frames that were wanted, and some may never come.

        Args:
            embedding: float32 [D], L2-normalized.
            frames: the number of frames that it is made of.
        """
        ...


FramePolicy: TypeAlias = Callable[[], FrameChooser]
"""Makes the chooser of a new track: `lambda: EveryFrame(4)`, or `partial(EveryFrame, 4)`."""


class EveryFrame:
    """Every k-th frame: the first, and then one of k."""

    def __init__(self, k: int = 1) -> None:
        """Begin a track. Raises ValueError if k is below 1."""
        if k < 1:
            raise ValueError(f"every frame of {k}: expected at least 1")
        self._k = k
        self._seen = 0

    def wants(self, crop: NDArray[np.uint8]) -> bool:
        """Return whether it is the turn of this frame."""
        self._seen += 1
        return self._seen % self._k == 1 % self._k

    def took(self, embedding: NDArray[np.float32], frames: int) -> None:
        """Do nothing: turns do not depend on it."""


class OnChange:
    """Frames that differ from the last one that was chosen, by their thumbnails of 16 x 16 gray pixels."""

    def __init__(self, gray_levels: float) -> None:
        """Begin a track.

        Args:
            gray_levels: the mean absolute difference, of 255, from which a frame is another one.
        """
        self._gray_levels = gray_levels
        self._chosen: NDArray[np.int16] | None = None

    def wants(self, crop: NDArray[np.uint8]) -> bool:
        """Return whether the frame differs enough."""
        thumbnail = _thumbnail(crop)
        if self._chosen is not None and np.abs(thumbnail - self._chosen).mean() < self._gray_levels:
            return False
        self._chosen = thumbnail
        return True

    def took(self, embedding: NDArray[np.float32], frames: int) -> None:
        """Do nothing: pictures decide."""


class UntilSettled:
    """All frames, until one more moves the mean by next to nothing."""

    def __init__(self, similarity: float, times: int = 2) -> None:
        """Begin a track.

        Args:
            similarity: the cosine similarity of the mean to the one before, from which it has not moved.
            times: how often in a row it may not move until it counts as settled.

        Raises:
            ValueError: `times` is below 1.
        """
        if times < 1:
            raise ValueError(f"settled after {times} times: expected at least 1")
        self._similarity = similarity
        self._left = self._times = times
        self._mean: NDArray[np.float32] | None = None
        self._frames = 0

    def wants(self, crop: NDArray[np.uint8]) -> bool:
        """Return whether the mean still moves."""
        return self._left > 0

    def took(self, embedding: NDArray[np.float32], frames: int) -> None:
        """Compare the mean with the one before, if it is made of other frames."""
        if frames == self._frames:
            return
        if self._left and self._mean is not None:
            still = 1 - exact_distances(self._mean[None], embedding[None])[0, 0] >= self._similarity
            self._left = self._left - 1 if still else self._times
        self._mean, self._frames = embedding, frames


def _thumbnail(crop: NDArray[np.uint8]) -> NDArray[np.int16]:
    small = cv2.resize(crop, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.int16)
