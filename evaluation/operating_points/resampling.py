"""How sure rates of pairs are: vehicles, not pairs, are drawn again.

A pair belongs to the vehicle of its query and to that of its gallery entry, and pairs that share a vehicle are alike.
So vehicles are drawn with replacement, and a pair of two vehicles counts as often as one was drawn times as often as
the other: the pigeonhole bootstrap (Owen, *The pigeonhole bootstrap*, Annals of Applied Statistics 2007). A vehicle is
drawn once for its queries and its gallery entries, so a pair of the same vehicle counts as often as the vehicle.
All sums are of whole numbers: the same on every CPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.operating_points.pair_scores import PairScores

__all__ = ["RESAMPLES", "Draw", "percentile_interval", "resampled_draws"]

RESAMPLES = 500
_MOST_DRAWN = 1_000_000
"""Impostor pairs that draws are applied to. Of more, every n-th by score: that moves no rate by what could be seen."""
_SEED = 0
_CONFIDENCE = 0.95


class Draw:
    """How often each vehicle counts, applied to the pairs of one model."""

    def __init__(self, pairs: PairScores, times: NDArray[np.int64] | None = None) -> None:
        """Weigh pairs.

        Args:
            pairs: the pairs, of V vehicles.
            times: how often each vehicle was drawn, int64 [V]; None for once each.
        """
        times = np.ones(pairs.vehicles, np.int64) if times is None else times
        queries, gallery = pairs.queries * times, pairs.gallery * times
        self.impostor_pairs = int(queries.sum() * gallery.sum() - queries @ gallery)
        self._pairs = pairs
        self._impostor = pairs.each * np.cumsum(times[pairs.impostor.query] * times[pairs.impostor.gallery])
        self._genuine = np.cumsum(times[pairs.genuine.query])

    def threshold(self, false_match_rate: float) -> int:
        """Return the lowest threshold, in steps, whose share of false matches is not above a rate.

        It is never lower than the impostor pairs that are held.
        """
        permitted = np.floor(false_match_rate * self.impostor_pairs * (1 + 1e-12))
        beyond = int(np.searchsorted(self._impostor, permitted, side="right"))
        steps = self._pairs.impostor.steps
        return int(steps[min(beyond, len(steps) - 1)]) + 1

    def true_match_rate(self, threshold: int) -> float:
        """Return the share of genuine pairs with a score of at least `threshold`, in percent; NaN without any."""
        matches = self._count(self._genuine, self._pairs.genuine.reaching(threshold))
        total = self._count(self._genuine, len(self._genuine))
        return 100 * matches / total if total else float("nan")

    def false_match_rate(self, threshold: int) -> float:
        """Return the share of impostor pairs with a score of at least `threshold`, in percent; NaN without any.

        It is never more than the share of the impostor pairs that are held.
        """
        matches = self._count(self._impostor, self._pairs.impostor.reaching(threshold))
        return 100 * matches / self.impostor_pairs if self.impostor_pairs else float("nan")

    @staticmethod
    def _count(cumulative: NDArray[np.int64], first: int) -> int:
        return int(cumulative[first - 1]) if first else 0


def resampled_draws(*models: PairScores) -> Iterator[tuple[Draw, ...]]:
    """Yield RESAMPLES draws of vehicles, the same for all models' pairs; draws of one vehicle alone are skipped."""
    random = np.random.default_rng(_SEED)
    vehicles = models[0].vehicles
    models = tuple(pairs.thinned(_MOST_DRAWN) for pairs in models)
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(vehicles, size=vehicles), minlength=vehicles)
        draws = tuple(Draw(pairs, times) for pairs in models)
        if all(draw.impostor_pairs for draw in draws):
            yield draws


def percentile_interval(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lower and the upper bound over the draws, the first axis, as a new last axis; NaN is left out."""
    tail = (1 - _CONFIDENCE) / 2
    return np.moveaxis(np.nanquantile(values, (tail, 1 - tail), axis=0), 0, -1)
