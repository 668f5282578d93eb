"""The scores of all pairs of query and gallery entry: of the same vehicle, and of different ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.metrics import Labels, numbered
from reid.evaluation.protocols import EmbeddedData, Protocol
from reid.runtime.galleries.expansion import expanded_queries
from reid.runtime.galleries.ranking import exact_distances
from reid.runtime.operating_point import STEPS, written_steps

__all__ = ["BINS", "HELD", "PairScores", "Pairs", "bin_edge", "pair_scores", "score_pairs"]

HELD = 0.025
"""The share of the impostor pairs, those of the highest scores, that are held one by one."""

BINS = 220
"""Bins of a histogram of scores, each 0.01 wide; the last but ten ends at 1, and lengths are 1 within a percent."""

_FIRST_EDGE = -1.1
_BIN_STEPS = STEPS // 100
_HELD_AT_LEAST = 20_000
_PAIRS_AT_ONCE = 1 << 22


def bin_edge(number: int) -> float:
    """Return the lower edge of a bin."""
    return round(_FIRST_EDGE + number / 100, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of a query and a gallery entry, those of the highest scores first.

    Attributes:
        steps: int32 [n], the scores in millionths; see written_steps.
        query: int32 [n], the number of the query's vehicle.
        gallery: int32 [n], the number of the gallery entry's vehicle.
    """

    steps: NDArray[np.int32]
    query: NDArray[np.int32]
    gallery: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.steps)

    def reaching(self, threshold: int) -> int:
        """Return the number of pairs with a score of at least `threshold`, in steps: the first ones."""
        return int(np.searchsorted(-self.steps, -threshold, side="right"))

    def best(self, most: int) -> Pairs:
        """Return at most `most` pairs, those of the highest scores, in order; of equal scores the earlier ones."""
        order = np.argsort(-self.steps, kind="stable")[:most]
        return Pairs(self.steps[order], self.query[order], self.gallery[order])

    @classmethod
    def joined(cls, parts: Sequence[Pairs]) -> Pairs:
        """Return the pairs of all parts, in the order of the parts."""
        columns = ([getattr(part, name) for part in parts] for name in ("steps", "query", "gallery"))
        return cls(*(np.concatenate([np.empty(0, np.int32), *column]) for column in columns))


@dataclass(frozen=True, slots=True, eq=False)
class PairScores:
    """The scores of the pairs of a protocol, whose entries show V vehicles.

    Attributes:
        genuine: the pairs of the same vehicle, but for junk.
        impostor: the pairs of different vehicles with the highest scores, HELD of all; all of a small data set.
        impostor_pairs: the number of pairs of different vehicles.
        queries: int64 [V], the number of queries of each vehicle.
        gallery: int64 [V], the number of gallery entries of each vehicle.
        genuine_bins: int64 [BINS], the histogram of the scores of all genuine pairs.
        impostor_bins: int64 [BINS], the histogram of the scores of all impostor pairs.
        each: how many impostor pairs each one that is held stands for.
    """

    genuine: Pairs
    impostor: Pairs
    impostor_pairs: int
    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]
    genuine_bins: NDArray[np.int64]
    impostor_bins: NDArray[np.int64]
    each: int = 1

    def thinned(self, most: int) -> PairScores:
        """Return the same with at most about `most` impostor pairs, every n-th by score, each of which stands for n."""
        every = -(-len(self.impostor) // most)
        columns = (getattr(self.impostor, name)[every // 2 :: every] for name in ("steps", "query", "gallery"))
        return self if every <= 1 else replace(self, impostor=Pairs(*columns), each=every * self.each)

    @property
    def vehicles(self) -> int:
        """The number V of vehicles."""
        return len(self.queries)


def pair_scores(data: EmbeddedData, protocol: Protocol, *, expand_queries: int = 0) -> PairScores:
    """Score the pairs that a protocol compares.

    As in its rankings, entries of the query's vehicle and own view are left out; and so are entries without a vehicle.

    Args:
        data: the result of embed_data.
        protocol: the protocol, which says what is compared with what.
        expand_queries: see PostProcessing; re-ranked distances are of another scale in every data set.

    Raises:
        DataError: the embeddings are not L2-normalized.
    """
    query, gallery = (data.matrix(getattr(side, kind)) for side, kind in _sides(data, protocol))
    if expand_queries:
        query = expanded_queries(query, gallery, expand_queries)
    return score_pairs((query, gallery), *data.labels(protocol))


def _sides(data: EmbeddedData, protocol: Protocol) -> tuple[tuple[object, str], ...]:
    return (data.query, protocol.query), (data.gallery, protocol.gallery)


def score_pairs(
    embeddings: tuple[NDArray[np.float32], NDArray[np.float32]],
    query: Labels,
    gallery: Labels,
    *,
    held: float = HELD,
    held_at_least: int = _HELD_AT_LEAST,
) -> PairScores:
    """Score all pairs of queries and gallery entries with known vehicles.

    Scores are exact, so the result does not depend on who computes them. Memory beyond the embeddings: 12 bytes for
    each genuine pair and each impostor pair that is held, and five times as much while they are sorted.

    Args:
        embeddings: of the queries, float32 [Q, D], and of the gallery, float32 [G, D], L2-normalized.
        query: the labels of the queries.
        gallery: the labels of the gallery entries.
        held: the share of the impostor pairs to hold.
        held_at_least: the number of impostor pairs that are held whatever their share.
    """
    known = [np.flatnonzero([vehicle is not None for vehicle in side.vehicles]) for side in (query, gallery)]
    asked, found = (matrix[rows] for matrix, rows in zip(embeddings, known, strict=True))
    vehicles, views = (
        tuple(side[rows].astype(np.int32) for side, rows in zip(numbered(*labels), known, strict=True))
        for labels in ((query.vehicles, gallery.vehicles), (query.cameras, gallery.cameras))
    )
    numbers, vehicles = _from_zero(vehicles)
    queries, entries = (np.bincount(side, minlength=numbers) for side in vehicles)
    impostor_pairs = int(queries.sum() * entries.sum() - queries @ entries)
    gathered = _Gathered(max(int(held * impostor_pairs), held_at_least))
    for steps, rows in _scored_blocks(asked, found):
        same = vehicles[0][rows, None] == vehicles[1]
        junk = same & (views[0][rows, None] == views[1])
        gathered.add(steps, rows.start, same & ~junk, ~same, vehicles)
    genuine_bins, impostor_bins = gathered.bins
    return PairScores(
        genuine=gathered.genuine(),
        impostor=gathered.impostor(),
        impostor_pairs=impostor_pairs,
        queries=queries,
        gallery=entries,
        genuine_bins=genuine_bins,
        impostor_bins=impostor_bins,
    )


def _from_zero(sides: tuple[NDArray[np.int32], ...]) -> tuple[int, tuple[NDArray[np.int32], ...]]:
    """Number the vehicles that are there without gaps; return how many they are, and the numbers."""
    known, numbers = np.unique(np.concatenate(sides), return_inverse=True)
    first, second = np.split(numbers.astype(np.int32), [len(sides[0])])
    return len(known), (first, second)


def _scored_blocks(
    query: NDArray[np.float32], gallery: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.int32], slice]]:
    """Yield the scores in steps, int32 [c, G], of consecutive queries, and which they are."""
    chunk = max(1, _PAIRS_AT_ONCE // max(1, len(gallery)))
    for start in range(0, len(query), chunk):
        rows = slice(start, min(start + chunk, len(query)))
        yield written_steps(1 - exact_distances(query[rows], gallery)), rows


class _Gathered:
    """What is held of the pairs seen so far."""

    def __init__(self, most: int) -> None:
        self.bins = np.zeros((2, BINS), np.int64)
        self._most = most
        self._genuine: list[Pairs] = []
        self._impostor: list[Pairs] = []
        self._lowest = np.iinfo(np.int32).min  # below it, `most` higher ones are known

    def add(
        self,
        steps: NDArray[np.int32],
        start: int,
        genuine: NDArray[np.bool_],
        impostor: NDArray[np.bool_],
        vehicles: tuple[NDArray[np.int32], ...],
    ) -> None:
        """Take in a block of scores, int32 [c, G], of the queries from `start`, and which pairs are of which kind."""
        numbers = np.clip((steps + 110 * _BIN_STEPS) // _BIN_STEPS, 0, BINS - 1)
        for counts, kind in zip(self.bins, (genuine, impostor), strict=True):
            counts += np.bincount(numbers[kind], minlength=BINS)
        for held, kind in ((self._genuine, genuine), (self._impostor, impostor & (steps >= self._lowest))):
            rows, columns = np.nonzero(kind)
            held.append(Pairs(steps[rows, columns], vehicles[0][rows + start], vehicles[1][columns]))
        if sum(map(len, self._impostor)) > 1.5 * self._most:
            self._let_go()

    def _let_go(self) -> None:
        """Keep `most` of the pairs, in their order; of the lowest score the earlier ones."""
        pairs = Pairs.joined(self._impostor)
        self._impostor.clear()
        self._lowest = np.partition(pairs.steps, -self._most)[-self._most]
        kept = pairs.steps > self._lowest
        ties = np.flatnonzero(pairs.steps == self._lowest)
        kept[ties[: self._most - np.count_nonzero(kept)]] = True
        self._impostor.append(Pairs(pairs.steps[kept], pairs.query[kept], pairs.gallery[kept]))

    def genuine(self) -> Pairs:
        """Return all genuine pairs."""
        pairs = Pairs.joined(self._genuine)
        return pairs.best(len(pairs))

    def impostor(self) -> Pairs:
        """Return the impostor pairs that are held."""
        return Pairs.joined(self._impostor).best(self._most)
