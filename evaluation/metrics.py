"""mAP and Rank-k of a ranking, by the protocol of Market-1501 and VeRi-776."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import DistanceBlock

__all__ = ["METRICS", "RANKS", "Labels", "Metrics", "evaluate", "numbered"]

RANKS = (1, 5, 10)
"""The k of the reported Rank-k."""

METRICS = ("mAP", *(f"R-{k}" for k in RANKS))
"""The names of the reported metrics, in the order of the field's tables."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The known labels of a query set or a gallery, one for each entry, in its order.

    Attributes:
        vehicles: the vehicle's identity, or None. An entry without one is nobody's right answer and never left out
            of a ranking; a query without one has no right answer.
        cameras: the camera's name, or None; unknown cameras count as one camera. Or whatever else tells the views of
            a vehicle apart: a query is not answered by entries of its own view.

    Raises:
        DataError: the two have different lengths.
    """

    vehicles: Sequence[str | None]
    cameras: Sequence[Hashable]

    def __post_init__(self) -> None:
        if len(self.vehicles) != len(self.cameras):
            raise DataError(f"{len(self.vehicles)} vehicles but {len(self.cameras)} cameras: give both for every entry")

    def __len__(self) -> int:
        return len(self.vehicles)


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """How well each query found its vehicle.

    Attributes:
        average_precision: float64 [Q'], from 0 to 1, for each counted query.
        first_hit: int64 [Q'], the rank, from 0, of the first right answer, junk left out.
        counted: int64 [Q'], the queries that have a right answer in the gallery.
        unanswerable: int64, the queries that have none, and so are in no figure.
        gallery: the number of entries in the gallery, junk included.
    """

    average_precision: NDArray[np.float64]
    first_hit: NDArray[np.int64]
    counted: NDArray[np.int64]
    unanswerable: NDArray[np.int64]
    gallery: int

    def summary(self) -> dict[str, float | int]:
        """Return METRICS as percentages, unrounded, and the numbers behind them."""
        rank_k = {f"R-{k}": 100 * float(np.mean(self.first_hit < k)) for k in RANKS}
        return {
            "mAP": 100 * _mean(self.average_precision),
            **rank_k,
            "queries": len(self.counted),
            "gallery": self.gallery,
            "unanswerable": len(self.unanswerable),
        }


def evaluate(blocks: Iterable[DistanceBlock], query: Labels, gallery: Labels) -> Metrics:
    """Score a ranking as Market-1501 (Zheng et al., ICCV 2015) and VeRi-776 (Liu et al., ECCV 2016) do.

    A right answer shows the query's vehicle from another camera. Junk, the same vehicle from the same camera,
    is left out of the ranking. Average precision is the mean, over the right answers, of the precision at
    their rank, not interpolated. Equal distances rank in gallery order.

    Args:
        blocks: the distances, [c, G], of consecutive queries, in the order of the queries.
        query: the labels of the Q queries.
        gallery: the labels of the G gallery entries.

    Raises:
        DataError: `blocks` are not Q x G in all, hold NaN or infinity, or no query has a right answer.
    """
    average_precision: list[float] = []
    first_hit: list[int] = []
    counted: list[int] = []
    unanswerable: list[int] = []
    for position, ranks in enumerate(_right_ranks(blocks, query, gallery)):
        if ranks.size == 0:
            unanswerable.append(position)
            continue
        counted.append(position)
        first_hit.append(int(ranks[0]))
        average_precision.append(_mean(np.arange(1, ranks.size + 1) / (ranks + 1)))
    if not counted:
        raise DataError(
            f"none of {len(query)} queries shows a vehicle that another camera sees among {len(gallery)} gallery "
            "entries: check that query and gallery belong together"
        )
    return Metrics(
        np.array(average_precision),
        np.array(first_hit, np.int64),
        np.array(counted, np.int64),
        np.array(unanswerable, np.int64),
        len(gallery),
    )


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of an exact sum: the same bits in any order and on any CPU."""
    return math.fsum(values.tolist()) / len(values)


def _right_ranks(blocks: Iterable[DistanceBlock], query: Labels, gallery: Labels) -> Iterator[NDArray[np.int64]]:
    """Yield, for each query, the ranks of its right answers; empty where it has none."""
    sightings = _sightings(gallery.vehicles)
    never = np.empty(0, np.int64)
    asked, found = numbered(query.cameras, gallery.cameras)
    position = 0
    for block in _checked(blocks, len(query), len(gallery)):
        for row in range(len(block)):
            vehicle = query.vehicles[position]
            same_vehicle = never if vehicle is None else sightings.get(vehicle, never)
            same_camera = found[same_vehicle] == asked[position]
            yield _ranks(block, row, same_vehicle[~same_camera], same_vehicle[same_camera])
            position += 1


def numbered(*sides: Iterable[Hashable]) -> tuple[NDArray[np.int64], ...]:
    """Return each side's labels as numbers, int64, which are equal where the labels are."""
    numbers: dict[Hashable, int] = {}
    return tuple(np.array([numbers.setdefault(label, len(numbers)) for label in side], np.int64) for side in sides)


def _sightings(vehicles: Sequence[str | None]) -> dict[str, NDArray[np.int64]]:
    """Return the positions of each vehicle in the gallery, ascending."""
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for position, vehicle in enumerate(vehicles):
        if vehicle is not None:
            positions[vehicle].append(position)
    return {vehicle: np.array(found, np.int64) for vehicle, found in positions.items()}


def _ranks(block: DistanceBlock, row: int, right: NDArray[np.int64], junk: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ranks from 0, ascending, of the gallery entries `right` once `junk` is left out.

    A rank is the number of wrong answers before a right one, and of right ones: how the right ones are ordered among
    themselves does not change the set of their ranks. Sorting the values of the wrong ones and looking up the few
    right ones is several times faster than an argsort.
    """
    if right.size == 0:
        return right
    wanted = block.values[row, right].astype(np.float64)
    wrong = block.values[row].copy()
    wrong[right] = wrong[junk] = np.inf  # beyond every right answer, since distances are finite
    columns = np.flatnonzero(wrong <= wanted.max() + 2 * block.error)
    values = wrong[columns].astype(np.float64)
    if block.error:
        _settle(block, row, (right, wanted), (columns, values))
    ordered = np.sort(values)
    before = np.searchsorted(ordered, wanted)
    equals = np.searchsorted(ordered, wanted, side="right") - before
    for answer in np.flatnonzero(equals):
        before[answer] += np.count_nonzero(columns[values == wanted[answer]] < right[answer])
    return np.sort(before) + np.arange(right.size)


def _settle(
    block: DistanceBlock,
    row: int,
    right: tuple[NDArray[np.int64], NDArray[np.float64]],
    wrong: tuple[NDArray[np.int64], NDArray[np.float64]],
) -> None:
    """Overwrite the values of right and wrong answers that are too close to tell apart by their exact distances.

    Args:
        block: the distances.
        row: the query's row of the block.
        right: columns, int64 [r], and their values, float64 [r].
        wrong: columns, int64 [w], and their values, float64 [w].
    """
    (answers, wanted), (columns, values) = right, wrong
    margin = 2 * block.error
    ordered = np.sort(values)
    doubtful = np.searchsorted(ordered, wanted - margin) < np.searchsorted(ordered, wanted + margin, side="right")
    if not doubtful.any():
        return
    edges = np.concatenate([[-np.inf], np.sort(wanted[doubtful]), [np.inf]])
    place = np.searchsorted(edges, values)
    close = np.minimum(values - edges[place - 1], edges[place] - values) <= margin
    exact = block.exact(row, np.concatenate([answers[doubtful], columns[close]]))
    wanted[doubtful], values[close] = np.split(exact, [np.count_nonzero(doubtful)])


def _checked(blocks: Iterable[DistanceBlock], queries: int, gallery: int) -> Iterator[DistanceBlock]:
    """Pass the blocks on, once their shape and values are known to be right."""
    seen = 0
    for block in blocks:
        values = block.values
        if values.ndim != 2 or values.shape[1] != gallery or seen + len(block) > queries:
            raise DataError(
                f"a block of distances {list(values.shape)} after {seen} queries does not fit "
                f"{queries} queries x {gallery} gallery entries: give labels and embeddings of the same sets"
            )
        finite = np.isfinite(values)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise DataError(
                f"the distance of query {seen + row} to gallery entry {column} is {values[row, column]}: "
                "embed them again, and look for an overflow in the model"
            )
        yield block
        seen += len(block)
    if seen != queries:
        raise DataError(f"distances for {seen} of {queries} queries: give one row for each query")
