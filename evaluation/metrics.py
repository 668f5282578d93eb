"""mAP and Rank-k of a ranking, by the protocol of Market-1501 and VeRi-776."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError

__all__ = ["Labels", "Metrics", "evaluate"]


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of each entry of a query set or a gallery, in its order.

    Attributes:
        vehicles: the vehicle's identity.
        cameras: the camera's name.

    Raises:
        DataError: the two have different lengths.
    """

    vehicles: Sequence[str]
    cameras: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.vehicles) != len(self.cameras):
            raise DataError(f"{len(self.vehicles)} vehicles but {len(self.cameras)} cameras: give both for every entry")

    def __len__(self) -> int:
        return len(self.vehicles)


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """How well each query found its vehicle.

    Attributes:
        average_precision: float64 [Q'], from 0 to 1, of the counted queries.
        first_hit: int64 [Q'], rank from 0 of the first right answer, junk left out.
        counted: int64 [Q'], the queries that have a right answer in the gallery.
        unanswerable: int64, the queries that have none, and so are in no figure.
        gallery: entries in the gallery, junk included.
    """

    average_precision: NDArray[np.float64]
    first_hit: NDArray[np.int64]
    counted: NDArray[np.int64]
    unanswerable: NDArray[np.int64]
    gallery: int

    def summary(self) -> dict[str, float | int]:
        """Return mAP and Rank-1, 5 and 10 as percentages, unrounded, and the numbers behind them."""
        rank_k = {f"R-{k}": 100 * float(np.mean(self.first_hit < k)) for k in (1, 5, 10)}
        return {
            "mAP": 100 * float(np.mean(self.average_precision)),
            **rank_k,
            "queries": len(self.counted),
            "gallery": self.gallery,
            "unanswerable": len(self.unanswerable),
        }


def evaluate(rows: Iterable[NDArray[np.float32]], query: Labels, gallery: Labels) -> Metrics:
    """Score a ranking as Market-1501 (Zheng et al., ICCV 2015) and VeRi-776 (Liu et al., ECCV 2016) do.

    A right answer shows the query's vehicle from another camera. Junk, the same vehicle from the same camera,
    is left out of the ranking. Average precision is the mean, over the right answers, of the precision at
    their rank, not interpolated. Equal distances rank in gallery order.

    Args:
        rows: float32 [c, G], consecutive blocks of the distance matrix, in the order of the queries.
        query: labels of the Q queries.
        gallery: labels of the G gallery entries.

    Raises:
        DataError: `rows` is not Q x G in all, holds NaN or infinity, or no query has a right answer.
    """
    average_precision: list[float] = []
    first_hit: list[int] = []
    counted: list[int] = []
    unanswerable: list[int] = []
    for position, ranks in enumerate(_right_ranks(rows, query, gallery)):
        if ranks.size == 0:
            unanswerable.append(position)
            continue
        counted.append(position)
        first_hit.append(int(ranks[0]))
        average_precision.append(float((np.arange(1, ranks.size + 1) / (ranks + 1)).mean()))
    if not counted:
        raise DataError(
            f"none of {len(query)} queries has its vehicle under another camera among {len(gallery)} gallery "
            "entries: check that query and gallery belong together"
        )
    return Metrics(
        np.array(average_precision),
        np.array(first_hit, np.int64),
        np.array(counted, np.int64),
        np.array(unanswerable, np.int64),
        len(gallery),
    )


def _right_ranks(rows: Iterable[NDArray[np.float32]], query: Labels, gallery: Labels) -> Iterator[NDArray[np.int64]]:
    """Yield, for each query, the ranks of its right answers; empty where it has none."""
    sightings = _sightings(gallery.vehicles)
    never = np.empty(0, np.int64)
    cameras = np.array(gallery.cameras, dtype=str)
    for position, distances in enumerate(_checked_rows(rows, len(query), len(gallery))):
        same_vehicle = sightings.get(query.vehicles[position], never)
        same_camera = cameras[same_vehicle] == query.cameras[position]
        yield _ranks(distances, same_vehicle[~same_camera], same_vehicle[same_camera])


def _sightings(vehicles: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return where each vehicle stands in the gallery, ascending."""
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for position, vehicle in enumerate(vehicles):
        positions[vehicle].append(position)
    return {vehicle: np.array(found, np.int64) for vehicle, found in positions.items()}


def _ranks(distances: NDArray[np.float32], right: NDArray[np.int64], junk: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ranks from 0, ascending, of the gallery entries `right` once `junk` is left out.

    Sorting the values and looking up the few right ones is several times faster than an argsort.
    """
    if right.size == 0:
        return right
    right = right[np.argsort(distances[right], kind="stable")]
    wanted = distances[right]
    kept = distances.copy()
    kept[junk] = np.inf  # behind every right answer, since distances are finite
    ordered = np.sort(kept[kept <= wanted[-1]])
    ranks = np.searchsorted(ordered, wanted)
    equals = np.searchsorted(ordered, wanted, side="right") - ranks
    for answer in np.flatnonzero(equals > 1):
        ranks[answer] += np.count_nonzero(kept[: right[answer]] == wanted[answer])
    return ranks


def _checked_rows(rows: Iterable[NDArray[np.float32]], queries: int, gallery: int) -> Iterator[NDArray[np.float32]]:
    """Yield the single rows of the blocks, once their shape and values are known to be right."""
    seen = 0
    for block in rows:
        if block.ndim != 2 or block.shape[1] != gallery or seen + len(block) > queries:
            raise DataError(
                f"a block of distances {list(block.shape)} after {seen} queries does not fit "
                f"{queries} queries x {gallery} gallery entries: give labels and embeddings of the same sets"
            )
        finite = np.isfinite(block)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise DataError(
                f"the distance of query {seen + row} to gallery entry {column} is {block[row, column]}: "
                "embed them again, and look for an overflow in the model"
            )
        yield from block
        seen += len(block)
    if seen != queries:
        raise DataError(f"distances for {seen} of {queries} queries: give one row for each query")
