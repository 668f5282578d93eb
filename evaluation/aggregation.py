"""How much each level should count where the embeddings of all levels are put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.pairs import NEGATIVE, POSITIVE, kinds_of, of_levels
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData
from reid.evaluation.retrieval_loss import cross_entropies
from reid.runtime.model_card import Level

__all__ = ["LEAST_WEIGHT", "choose_level_weights"]

LEAST_WEIGHT = 0.05
"""Relative to the largest: a level that is worth nothing to the held-out vehicles may be worth something to others."""

_FIRST_STEP, _LAST_STEP = 4.0, 1.02
"""Factors by which coefficients are changed while they are searched for."""

_FIRST = 10.0
"""The scale where the search begins: cosines are between -1 and 1."""


def choose_level_weights(data: EmbeddedData, levels: Sequence[Level]) -> tuple[float, ...]:
    """Return the weight of each level, at most 1, with which the right images are told from the wrong ones best.

    The cosine of two weighted concatenations is a mean of the levels' cosines that is weighted by the squares of the
    weights. So the squares are the coefficients of a logistic regression: each pair of a query and a right image
    competes with the query's wrong ones, as in a classifier's cross-entropy, which is convex in the coefficients.
    Unlike mAP, it still tells levels apart where every ranking of the held-out vehicles is right.

    Args:
        data: the result of embed_data, for vehicles that the model has not learned.
        levels: the levels, in the order in which the embeddings concatenate them.

    Returns:
        A weight for each level; 1 for each where no query has both a right and a wrong image.
    """
    kinds = kinds_of(*data.labels(PROTOCOLS["i2i"]))
    positive, negative = kinds == POSITIVE, kinds == NEGATIVE
    answerable = positive.any(axis=1) & negative.any(axis=1)
    if len(levels) == 1 or not answerable.any():
        return (1.0,) * len(levels)
    query, gallery = (of_levels(data.matrix(side.images), levels) for side in (data.query, data.gallery))
    cosines = [query[level.name][answerable] @ gallery[level.name].T for level in levels]
    loss = _loss(cosines, positive[answerable], negative[answerable])
    weights = np.sqrt(_minimum(loss, len(levels)))
    return tuple(float(weight) for weight in np.round(np.maximum(weights / weights.max(), LEAST_WEIGHT), 3))


def _loss(
    cosines: Sequence[NDArray[np.float32]], positive: NDArray[np.bool_], negative: NDArray[np.bool_]
) -> Callable[[NDArray[np.float64]], float]:
    """Return the retrieval loss as a function of the levels' coefficients."""

    def loss(coefficients: NDArray[np.float64]) -> float:
        scores = np.zeros_like(cosines[0])
        for factor, level in zip(coefficients, cosines, strict=True):
            scores += np.float32(factor) * level
        return float(cross_entropies(scores, positive, negative, np.ones(1)).mean())

    return loss


def _minimum(loss: Callable[[NDArray[np.float64]], float], count: int) -> NDArray[np.float64]:
    """Return the positive coefficients with the smallest loss: pattern search on a logarithmic scale, and their sum."""
    best = np.full(count, _FIRST)
    least, step = loss(best), _FIRST_STEP
    directions = [*np.eye(count), np.ones(count)]
    while step > _LAST_STEP:
        tried = [(best * step ** (sign * direction)).clip(1e-3, 1e4) for direction in directions for sign in (1, -1)]
        losses = [loss(one) for one in tried]
        nearest = int(np.argmin(losses))
        if losses[nearest] < least:
            best, least = tried[nearest], losses[nearest]
        else:
            step = step**0.5
    return best
