"""The distances between pairs of held-out images, of the same vehicle and of different ones, in every level."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.metrics import Labels, numbered
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData
from reid.runtime.galleries.ranking import exact_distances
from reid.runtime.model_card import Level
from reid.runtime.normalization import normalize

__all__ = [
    "ALL_LEVELS",
    "BINS_PER_UNIT",
    "NEGATIVE",
    "POSITIVE",
    "PairDistances",
    "kinds_of",
    "of_levels",
    "pair_distances",
]

ALL_LEVELS = "all levels"
BINS_PER_UNIT = 1000
"""Finer than any drawing, so that figures computed from the counts are as good as figures from the distances."""

_BINS = 2 * BINS_PER_UNIT  # no two unit vectors are farther apart than 2
_BLOCK = 256
POSITIVE, NEGATIVE, _JUNK = range(3)
"""Kinds of pairs: of one vehicle, of two, and those that tell nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class PairDistances:
    """Histogram of the Euclidean distances of unit-length embeddings, from 0 to 2.

    Attributes:
        level: the name of the level whose embeddings were compared.
        positive: int64 [2000], the counts of pairs of the same vehicle from two cameras, or in other views.
        negative: int64 [2000], the counts of pairs of different vehicles.
    """

    level: str
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]

    @property
    def auc(self) -> float:
        """The fraction of (positive, negative) couples of pairs whose positive pair is the nearer; ties count half.

        1 where there is no couple.
        """
        couples = self.positive.sum() * self.negative.sum()
        nearer = np.cumsum(self.positive) - self.positive / 2
        return float(nearer @ self.negative / couples) if couples else 1.0


def pair_distances(data: EmbeddedData, levels: Sequence[Level]) -> tuple[PairDistances, ...]:
    """Count the distances between query and gallery images in every level and, if there are several, in all of them.

    As in evaluation, pairs of the same vehicle in the query's own view (from the same camera) are left out, and so are
    pairs with an unlabeled image. Memory does not grow with the number of pairs.

    Args:
        data: the result of embed_data.
        levels: the levels, in the order in which the embeddings concatenate them.
    """
    asked, found = data.labels(PROTOCOLS["i2i"])
    queries, galleries = (of_levels(data.matrix(side.images), levels) for side in (data.query, data.gallery))
    counts = {name: np.zeros((3, _BINS), np.int64) for name in queries}
    for start in range(0, len(asked), _BLOCK):
        block = slice(start, start + _BLOCK)
        kinds = kinds_of(Labels(asked.vehicles[block], asked.cameras[block]), found)
        for name, of_level in counts.items():
            of_level += _count(queries[name][block], galleries[name], kinds)
    return tuple(PairDistances(name, kind[POSITIVE], kind[NEGATIVE]) for name, kind in counts.items())


def of_levels(embeddings: NDArray[np.float32], levels: Sequence[Level]) -> dict[str, NDArray[np.float32]]:
    """Return the embeddings of each level, by its name, and those of all levels if there are several."""
    ends = np.cumsum([level.size for level in levels])
    parts = np.split(embeddings, ends[:-1], axis=1)
    own = {level.name: normalize(part) for level, part in zip(levels, parts, strict=True)}
    return own if len(levels) == 1 else {**own, ALL_LEVELS: embeddings}


def kinds_of(query: Labels, gallery: Labels) -> NDArray[np.int32]:
    """Return the kind of every pair, int32 [Q, G]."""
    same_vehicle = _equal(query.vehicles, gallery.vehicles)
    same_view = _equal(query.cameras, gallery.cameras)
    kinds = np.where(same_vehicle, np.where(same_view, _JUNK, POSITIVE), NEGATIVE).astype(np.int32)
    kinds[[vehicle is None for vehicle in query.vehicles], :] = _JUNK
    kinds[:, [vehicle is None for vehicle in gallery.vehicles]] = _JUNK
    return kinds


def _equal(rows: Sequence[Hashable], columns: Sequence[Hashable]) -> NDArray[np.bool_]:
    asked, found = numbered(rows, columns)
    return np.asarray(asked[:, None] == found)


def _count(query: NDArray[np.float32], gallery: NDArray[np.float32], kinds: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the numbers of distances by kind and bin, int64 [3, 2000]."""
    distances = np.sqrt(np.clip(2 * exact_distances(query, gallery), 0, 4))
    bins = np.minimum((distances * BINS_PER_UNIT).astype(np.int32), _BINS - 1)
    return np.bincount((bins + kinds * _BINS).ravel(), minlength=3 * _BINS).reshape(3, _BINS)
