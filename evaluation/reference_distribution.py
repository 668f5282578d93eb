"""How the data that a model is verified on looks, to compare other crops with: what a bundle keeps of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.protocols import EmbeddedData
from reid.runtime.data_drift.looks import look
from reid.runtime.data_drift.observing import centered_scores, fisher, measure
from reid.runtime.data_drift.quantities import Quantity
from reid.runtime.data_drift.reference import CameraReference, Distribution
from reid.runtime.data_drift.sums import Measured, Sums
from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import distance_rows, nearest
from reid.runtime.imaging import read_frame
from reid.runtime.progress import SILENT, Progress
from reid.runtime.tracklet import Frame, Tracklet

__all__ = ["Seen", "distribution_of", "looks_of", "seen_by"]

_DECIMALS = 6
_THREADS = 4
_AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a session made of the U tracklets of a data set; of its images where it has no tracklets.

    Attributes:
        tracklets: the tracklets, each once.
        means: the mean of the embeddings of each one's frames, float32 [U, D], not normalized.
        frames: the number of frames in it, int64 [U].
        scores: the camera of each query, and the similarity of its best match in another camera.
    """

    tracklets: tuple[Tracklet, ...]
    means: NDArray[np.float32]
    frames: NDArray[np.int64]
    scores: tuple[tuple[str, float], ...]


def seen_by(data: EmbeddedData) -> Seen:
    """Return what a session made of a data set."""
    gallery = data.gallery.tracklets or data.gallery.images
    tracklets = {one.frames: one for one in (*gallery, *(data.query.tracklets or data.query.images))}
    rows = [[(frame,) for frame in frames if (frame,) in data.embeddings] for frames in tracklets]
    return Seen(
        tuple(tracklets.values()),
        np.stack([data.rows(one).mean(axis=0) for one in rows]),
        np.array([len(one) for one in rows]),
        tuple(_scores(data, data.query.images, gallery)),
    )


def _scores(data: EmbeddedData, query: Sequence[Tracklet], gallery: Sequence[Tracklet]) -> Iterator[tuple[str, float]]:
    """Yield what is known of the queries' best matches, as `Observer.take_ranking` does."""
    cameras = np.array([one.camera or "" for one in gallery])
    start = 0
    for block in distance_rows(data.matrix(query), data.matrix(gallery)):
        asked = query[start : (start := start + len(block))]
        own = np.array([one.camera or "" for one in asked])
        block.values[(own[:, None] == cameras) | (cameras == "")] = np.inf
        _, distances = nearest(block, 1)
        for one, distance in zip(asked, distances[:, 0].tolist(), strict=True):
            if one.camera and np.isfinite(distance):
                yield one.camera, 1 - distance


def looks_of(tracklets: Sequence[Tracklet], progress: Progress = SILENT) -> NDArray[np.float64]:
    """Read the pictures of tracklets, and return the mean of what is measured of each one's, float64 [U, F].

    Raises:
        DataError: none of a tracklet's can be read.
    """
    progress.begin("measuring", sum(len(one.frames) for one in tracklets))
    waiting, looks = iter(tracklets), []
    with ThreadPoolExecutor(_THREADS) as threads:
        while some := list(islice(waiting, _AT_ONCE)):
            for one, found in zip(some, threads.map(_look_at, some), strict=True):
                progress.advance(len(one.frames))
                looks.append(found)
    return np.stack(looks)


def _look_at(tracklet: Tracklet) -> NDArray[np.float64]:
    looks = [found for frame in tracklet.frames if (found := _look_at_frame(frame)) is not None]
    if not looks:
        raise DataError(f"{tracklet.id}: none of its frames can be read any more; export again")
    return np.asarray(np.mean(looks, axis=0))


def _look_at_frame(frame: Frame) -> NDArray[np.float64] | None:
    try:
        return look(read_frame(frame))
    except DataError:  # the verification names it
        return None


def distribution_of(seen: Seen, looks: NDArray[np.float64]) -> Distribution:
    """Return what a bundle keeps of what a session made of a data set, camera by camera.

    Args:
        seen: what the session made of it.
        looks: what was measured of its pictures, float64 [U, F].
    """
    # Each camera counts alike, however many vehicles drive by.
    means = [seen.means[rows].mean(axis=0) for rows in _rows_by_camera(seen.tracklets).values()]
    center = np.round(np.mean(means, axis=0).astype(np.float64), _DECIMALS)
    unit = center / max(float(np.linalg.norm(center)), 1e-12)
    cameras: dict[str | None, dict[Quantity, Measured]] = {}
    for camera, rows in _rows_by_camera(seen.tracklets).items():
        sums: defaultdict[Quantity, Sums] = defaultdict(Sums)
        for row in rows:
            for quantity, value in measure(seen.means[row], int(seen.frames[row]), looks[row], unit):
                sums[quantity].add(value)
        for asked, score in seen.scores:
            if asked == camera:
                sums["score"].add(fisher(score))
        cameras[camera] = {name: one for name, each in sums.items() if (one := each.measured()) is not None}
    known = centered_scores(cameras)
    return Distribution(
        center=tuple(center.tolist()),
        cameras=tuple(CameraReference(camera=camera, quantities=one) for camera, one in known.items()),
    )


def _rows_by_camera(tracklets: Iterable[Tracklet]) -> dict[str | None, list[int]]:
    rows: defaultdict[str | None, list[int]] = defaultdict(list)
    for row, tracklet in enumerate(tracklets):
        rows[tracklet.camera].append(row)
    return dict(rows)
