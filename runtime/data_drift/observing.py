"""What is measured of tracklets while they are embedded, camera by camera; no image is read twice."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from reid.runtime.data_drift.comparison import CameraCheck, compare
from reid.runtime.data_drift.quantities import PIXEL_QUANTITIES, Quantity
from reid.runtime.data_drift.reference import Distribution
from reid.runtime.data_drift.sums import Measured, Sums
from reid.runtime.embedding import Embedded
from reid.runtime.galleries.ranked_lists import Ranking

__all__ = ["Observer", "agreement_of", "centered_scores", "fisher", "measure"]

_LARGEST = 0.9999
"""The largest similarity that is told from 1: beyond it, Fisher's transformation would weigh rounding."""

_LEAST_RANKED = 0.9
"""The least share of a camera's queries whose matches reach another camera, for their scores to be compared."""


class Observer:
    """Measures tracklets as they come."""

    def __init__(self, center: Sequence[float]) -> None:
        """Begin without tracklets; `center` is the mean of the reference's embeddings, [D]."""
        vector = np.array(center, np.float64)
        self._center = vector / max(float(np.linalg.norm(vector)), 1e-12)
        self._cameras: defaultdict[str | None, defaultdict[Quantity, Sums]] = defaultdict(lambda: defaultdict(Sums))
        self._counts: defaultdict[str | None, int] = defaultdict(int)
        self._queries: defaultdict[str | None, int] = defaultdict(int)

    def take(self, one: Embedded) -> None:
        """Measure an embedded tracklet whose frames were looked at; one that could not be read is left out."""
        if one.embedding is None or one.looks is None:
            return
        camera = one.tracklet.camera
        self._counts[camera] += 1
        frames = len(one.tracklet.frames) - len(one.unreadable)
        for quantity, value in measure(one.embedding * one.agreement, frames, one.looks, self._center):
            self._cameras[camera][quantity].add(value)

    def take_ranking(self, ranking: Ranking) -> None:
        """Measure how well a query matches another camera, where its plain matches show that."""
        camera = ranking.query.camera
        self._queries[camera] += 1
        best = next((one.score for one in ranking.matches if one.entry.camera not in (None, camera)), None)
        if best is not None and camera is not None:
            self._cameras[camera]["score"].add(fisher(best))

    def measured(self) -> dict[str | None, dict[Quantity, Measured]]:
        """Return what is known of each camera's tracklets; scores are less the median of all cameras'."""
        found: dict[str | None, dict[Quantity, Measured]] = {}
        for camera in self._counts:
            sums = {name: one.measured() for name, one in self._cameras[camera].items()}
            found[camera] = {name: one for name, one in sums.items() if one is not None}
            if "score" in found[camera] and found[camera]["score"].count < _LEAST_RANKED * self._queries[camera]:
                del found[camera]["score"]
        return centered_scores(found)

    def compared(self, reference: Distribution, *, new_cameras: bool = False) -> tuple[CameraCheck, ...]:
        """Compare all cameras with the reference; see `comparison.compare`."""
        return compare(reference.cameras, self._counts, self.measured(), new_cameras=new_cameras)


def measure(
    mean: NDArray[np.floating], frames: int, looks: NDArray[np.float64], center: NDArray[np.float64]
) -> Iterator[tuple[Quantity, float]]:
    """Yield what is known of a tracklet before it is ranked.

    Args:
        mean: the mean of its frames' embeddings, [D], not normalized.
        frames: the number of its frames.
        looks: the mean of what `look` measured of them.
        center: the mean of the reference's embeddings, float64 [D], normalized.
    """
    yield from zip(PIXEL_QUANTITIES, looks.tolist(), strict=True)
    yield "likeness", float(mean.astype(np.float64) @ center)
    if frames > 1:
        yield "agreement", agreement_of(float(np.linalg.norm(mean)), frames)


def agreement_of(length: float, frames: int) -> float:
    """Return the mean similarity of two different frames, by Fisher's transformation.

    Args:
        length: the length of the mean of the frames' embeddings: its square is the mean similarity of all n^2 pairs,
            of which n are a frame and itself.
        frames: the number of frames, n > 1.
    """
    return fisher((frames * length * length - 1) / (frames - 1))


def fisher(similarity: float) -> float:
    """Return a similarity by Fisher's transformation, which spreads what is close to 1."""
    return math.atanh(min(max(similarity, -_LARGEST), _LARGEST))


def centered_scores(
    cameras: dict[str | None, dict[Quantity, Measured]],
) -> dict[str | None, dict[Quantity, Measured]]:
    """Return the scores of three cameras or more less their median, and no scores of fewer.

    How high scores are depends on the gallery: on its size, and on how many of the queries' vehicles it holds. What
    cameras that ask the same gallery differ by does not.
    """
    scores = [found["score"].mean for found in cameras.values() if "score" in found]
    middle = float(np.median(scores)) if len(scores) > 2 else None
    for found in cameras.values():
        score = found.pop("score", None)
        if score is not None and middle is not None:
            found["score"] = score.model_copy(update={"mean": score.mean - middle})
    return cameras
