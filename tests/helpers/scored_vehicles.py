"""Vehicles that never were, and the scores of their pairs: no model is needed to try thresholds."""

from __future__ import annotations

import numpy as np

from reid.evaluation.metrics import Labels
from reid.evaluation.operating_points.pair_scores import Pairs, PairScores, score_pairs

_TYPES, _DIMENSIONS = 12, 24


def vehicle_pairs(seed: int, vehicles: int, images: int = 6, noise: float = 0.0) -> PairScores:
    """Return the pairs of vehicles of a few types, which look alike, some of which are harder to recognize than others.

    Args:
        seed: the seed of the vehicles and of their images.
        vehicles: the number of vehicles.
        images: the number of images of each; the first one is a query, and the others are the gallery.
        noise: the standard deviation of what another model adds to the embeddings.
    """
    random = np.random.default_rng(seed)
    types = np.random.default_rng(99).normal(size=(_TYPES, _DIMENSIONS))
    centers = 0.8 * types[random.integers(_TYPES, size=vehicles)] + 0.8 * random.normal(size=(vehicles, _DIMENSIONS))
    spread = random.uniform(0.3, 1.1, size=vehicles)
    of = np.repeat(np.arange(vehicles), images)
    rows = centers[of] + spread[of, None] * random.normal(size=(len(of), _DIMENSIONS))
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) + noise * random.normal(size=rows.shape)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    asked = np.arange(len(of)) % images == 0
    sides = [Labels([str(one) for one in of[mask]], np.flatnonzero(mask).tolist()) for mask in (asked, ~asked)]
    return score_pairs((rows[asked], rows[~asked]), *sides)


def drawn_pairs(pairs: PairScores, times: list[int]) -> PairScores:
    """Return what is left of all pairs where a vehicle is copied as often as it was drawn, one pair after another."""

    def copied(kind: Pairs, *, same: bool) -> Pairs:
        rows = [
            row
            for row in zip(kind.steps.tolist(), kind.query.tolist(), kind.gallery.tolist(), strict=True)
            for _ in range(times[row[1]] * (1 if same else times[row[2]]))
        ]
        columns = np.array(rows, np.int32).reshape(-1, 3).T
        return Pairs(*columns)

    impostor = copied(pairs.impostor, same=False)
    return PairScores(
        copied(pairs.genuine, same=True),
        impostor,
        len(impostor),
        pairs.queries,
        pairs.gallery,
        pairs.genuine_bins,
        pairs.impostor_bins,
    )
