"""The cross-entropy of right images among wrong ones, which tells models apart even where every ranking is right."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.metrics import Labels
from reid.evaluation.pairs import NEGATIVE, POSITIVE, kinds_of
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData
from reid.runtime.galleries.ranking import exact_distances

__all__ = ["cross_entropies", "retrieval_loss"]

_SCALES = np.geomspace(1, 1000, 73)
"""A tenth apart, as near as the loss at its minimum needs: cosines are between -1 and 1."""

_BLOCK = 256


def retrieval_loss(data: EmbeddedData) -> float:
    """Return the loss of finding images by images: the least cross-entropy over one common scale of all cosines.

    Each pair of a query and a right image competes with the query's wrong ones, as in a classifier; a query's right
    images count alike, and so do the queries. Memory does not grow with the number of pairs, and the result does not
    depend on BLAS.

    Args:
        data: the result of embed_data.

    Returns:
        The loss in nats. A query without a wrong image has none; 0 where no query has a right image.
    """
    asked, found = data.labels(PROTOCOLS["i2i"])
    query, gallery = data.matrix(data.query.images), data.matrix(data.gallery.images)
    losses: list[NDArray[np.float64]] = []
    for start in range(0, len(asked), _BLOCK):
        block = slice(start, start + _BLOCK)
        kinds = kinds_of(Labels(asked.vehicles[block], asked.cameras[block]), found)
        answerable = (kinds == POSITIVE).any(axis=1)
        cosines = 1 - exact_distances(query[block][answerable], gallery).astype(np.float32)
        positive, negative = (kinds[answerable] == kind for kind in (POSITIVE, NEGATIVE))
        losses.append(cross_entropies(cosines, positive, negative, _SCALES))
    of_queries = np.concatenate(losses, axis=1)
    least: float = min(math.fsum(row) for row in of_queries.tolist())
    return least / max(len(of_queries[0]), 1)


def cross_entropies(
    scores: NDArray[np.float32],
    positive: NDArray[np.bool_],
    negative: NDArray[np.bool_],
    scales: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the mean cross-entropy of each query's right images, each among the query's wrong ones.

    Args:
        scores: score of every query and gallery entry, float32 [Q, G].
        positive: whether the entry is a right answer, bool [Q, G]; every query has one.
        negative: whether it is a wrong one, bool [Q, G].
        scales: positive factors of all scores, float64 [S].

    Returns:
        float64 [S, Q], for the scores times each of the scales.
    """
    top = np.max(scores, axis=1, where=negative, initial=-np.inf, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)  # of a query without a wrong image
    behind = np.where(negative, scores - top, np.float32(-np.inf))
    rows, columns = np.nonzero(positive)
    lead = top[rows, 0].astype(np.float64) - scores[rows, columns]
    sums = np.empty((len(scales), len(scores)))
    for of_scale, scale in zip(sums, scales, strict=True):
        with np.errstate(divide="ignore"):
            wrong = np.log(np.exp(np.float32(scale) * behind).sum(axis=1, dtype=np.float64))
        lost = np.logaddexp(0, wrong[rows] + scale * lead)
        of_scale[:] = np.bincount(rows, lost, minlength=len(scores))
    return np.asarray(sums / positive.sum(axis=1))
