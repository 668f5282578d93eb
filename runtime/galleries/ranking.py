"""Cosine distances between embeddings, block by block, and the best matches of each query."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError

__all__ = ["distance_rows", "nearest", "top_k"]

LENGTH_TOLERANCE = 0.01
"""How far the length of an embedding may be from 1: room for FP16, none for a forgotten normalization."""


def distance_rows(
    query: NDArray[np.float32], gallery: NDArray[np.float32], *, chunk: int = 256
) -> Iterator[NDArray[np.float32]]:
    """Yield the cosine distances `1 - q.g` in blocks of consecutive queries.

    For unit vectors this is half the squared Euclidean distance, so both rank alike. Only one block exists at
    a time: memory does not grow with queries x gallery.

    Args:
        query: float32 [Q, D], L2-normalized.
        gallery: float32 [G, D], L2-normalized.
        chunk: queries per block; the last block may be smaller.

    Returns:
        Blocks, float32 [c, G], that the caller may overwrite.

    Raises:
        DataError: the sizes disagree, or a row does not have length 1 (NaN included).
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, expected at least 1")
    _check_embeddings(query, gallery)
    return _distance_blocks(query, gallery, chunk)


def top_k(
    query: NDArray[np.float32], gallery: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the best `k' = min(k, G)` gallery rows of each query, best first, ties in gallery order.

    Args:
        query: float32 [Q, D], L2-normalized.
        gallery: float32 [G, D], L2-normalized.
        k: matches per query, at least 1.

    Returns:
        Gallery indices, int64 [Q, k'], and their cosine similarity, float32 [Q, k'].

    Raises:
        DataError: as for `distance_rows`.
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    shape = (len(query), min(k, len(gallery)))
    indices, similarities = np.empty(shape, np.int64), np.empty(shape, np.float32)
    start = 0
    for distances in distance_rows(query, gallery):
        rows = slice(start, start := start + len(distances))
        indices[rows] = nearest(distances, k)
        similarities[rows] = 1 - np.take_along_axis(distances, indices[rows], axis=1)
    return indices, similarities


def nearest(distances: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the columns of the `min(k, G)` smallest distances per row, nearest first, ties in column order.

    Args:
        distances: float32 [c, G] without NaN.
        k: columns per row, at least 1.

    Returns:
        int64 [c, min(k, G)], what a stable argsort would put first.
    """
    if k >= distances.shape[1]:
        return np.argsort(distances, axis=1, kind="stable")
    columns = np.empty((len(distances), k), np.int64)
    limits = np.partition(distances, k - 1, axis=1)[:, k - 1]
    for row, (values, limit) in enumerate(zip(distances, limits, strict=True)):
        # Everything tied with the k-th is a candidate; which of them stay is for the stable sort to decide.
        candidates = np.flatnonzero(values <= limit)
        columns[row] = candidates[np.argsort(values[candidates], kind="stable")[:k]]
    return columns


def _distance_blocks(
    query: NDArray[np.float32], gallery: NDArray[np.float32], chunk: int
) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(query), chunk):
        block = query[start : start + chunk] @ gallery.T
        yield np.subtract(1, block, out=block)


def _check_embeddings(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> None:
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise DataError(
            f"query embeddings {list(query.shape)} do not fit gallery embeddings {list(gallery.shape)}: "
            "embed both with the same model"
        )
    for name, embeddings in (("query", query), ("gallery", gallery)):
        lengths = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE))
        if wrong.size:
            raise DataError(
                f"{name} embedding {wrong[0]} has length {lengths[wrong[0]]:.4g}, expected 1 "
                f"({wrong.size} of {len(lengths)} are wrong): L2-normalize them; nan comes from the model"
            )
