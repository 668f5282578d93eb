from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from math import exp, fsum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.evaluation.metrics import Labels, evaluate
from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import distance_rows
from reid.runtime.galleries.reranking import _exponential, _on_grid, reranked_rows


def clustered(count: int, seed: int, vehicles: int = 5, spread: float = 0.15) -> NDArray[np.float32]:
    """Unit vectors around few centers, the same for every seed, so that neighbors are worth having."""
    centers = np.random.default_rng(99).standard_normal((vehicles, 12))
    rng = np.random.default_rng(seed)
    vectors = centers[np.arange(count) % vehicles] + spread * 12**0.5 * rng.standard_normal((count, 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def naive(
    query: NDArray[np.float32], gallery: NDArray[np.float32], k1: int, k2: int, lambda_value: float
) -> NDArray[np.float64]:
    """The paper's equations 1 to 12 on dense matrices, with sets and loops."""
    everything = np.concatenate([query, gallery]).astype(np.float64)
    count = len(everything)
    squared = np.array([[((a - b) ** 2).sum() for b in everything] for a in everything])
    distance = squared / squared.max(axis=1, keepdims=True)
    ranked = [sorted(range(count), key=lambda g: (distance[p, g], g)) for p in range(count)]

    def reciprocal(p: int, k: int) -> set[int]:
        return {g for g in ranked[p][: k + 1] if p in ranked[g][: k + 1]}

    vectors = np.zeros((count, count))
    for p in range(count):
        own = reciprocal(p, k1)
        expanded = set(own)
        for g in own:
            theirs = reciprocal(g, round(k1 / 2))
            if 3 * len(own & theirs) > 2 * len(theirs):
                expanded |= theirs
        for g in expanded:
            vectors[p, g] = exp(-distance[p, g])
        vectors[p] /= vectors[p].sum()
    if k2 > 1:
        vectors = np.array([vectors[ranked[p][:k2]].mean(axis=0) for p in range(count)])

    final = np.empty((len(query), len(gallery)))
    for p in range(len(query)):
        for g in range(len(gallery)):
            other = vectors[len(query) + g]
            jaccard = 1 - np.minimum(vectors[p], other).sum() / np.maximum(vectors[p], other).sum()
            final[p, g] = (1 - lambda_value) * jaccard + lambda_value * distance[p, len(query) + g]
    return final


def matrices(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    **settings: Any,  # noqa: ANN401 - of reranked_rows
) -> Iterator[NDArray[np.float32]]:
    return (block.values for block in reranked_rows(query, gallery, **settings))


@pytest.mark.parametrize(
    ("queries", "gallery", "k1", "k2", "lambda_value"),
    [
        (8, 40, 20, 6, 0.3),
        (8, 40, 7, 3, 0.3),
        (10, 30, 5, 1, 0.0),
        (10, 30, 4, 9, 0.5),  # more neighbors to average over than to be reciprocal with
        (3, 9, 20, 6, 0.3),  # fewer images than k1
        (1, 3, 20, 6, 0.3),  # fewer images than k2
        (6, 20, 3, 2, 0.3),
        (6, 20, 1, 2, 1.0),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agrees_with_the_paper(queries: int, gallery: int, k1: int, k2: int, lambda_value: float, seed: int) -> None:
    query, others = clustered(queries, seed), clustered(gallery, seed + 10)
    blocks = list(matrices(query, others, k1=k1, k2=k2, lambda_value=lambda_value, chunk=4))
    assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
    np.testing.assert_allclose(np.concatenate(blocks), naive(query, others, k1, k2, lambda_value), atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_the_size_of_the_blocks_does_not_matter(chunk: int) -> None:
    query, gallery = clustered(7, 0), clustered(31, 1)
    blocks = list(matrices(query, gallery, chunk=chunk))
    assert [len(block) for block in blocks[:-1]] == [chunk] * (len(blocks) - 1)
    expected = np.concatenate(list(matrices(query, gallery)))
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_it_improves_a_ranking_of_clusters() -> None:
    query, gallery = clustered(20, 0, spread=0.35), clustered(100, 1, spread=0.35)
    labels = [Labels([str(n % 5) for n in range(count)], [camera] * count) for count, camera in ((20, "a"), (100, "b"))]
    plain = evaluate(distance_rows(query, gallery), *labels).summary()["mAP"]
    reranked = evaluate(reranked_rows(query, gallery), *labels).summary()["mAP"]
    assert plain + 3 < reranked


def test_images_that_are_all_the_same_give_finite_distances() -> None:
    same = np.tile(clustered(1, 0), (30, 1))
    for block in matrices(same[:4], same, k1=5, k2=2):
        assert block.shape == (4, 30)
        assert np.isfinite(block).all()


def test_images_that_are_all_the_same_and_a_little_too_long_give_finite_distances() -> None:
    same = np.tile(np.float32(1.005) * clustered(1, 0), (30, 1))
    for block in matrices(same[:4], same, k1=5, k2=2):
        assert np.isfinite(block).all()


@given(st.floats(-1, 0))
def test_the_exponential_is_the_exponential(x: float) -> None:
    assert _exponential(np.array([x]))[0] == pytest.approx(exp(x), rel=1e-15)


def test_weights_on_the_grid_add_up_to_the_same_bits_in_any_order() -> None:
    weights = _on_grid(np.random.default_rng(0).random(8192))
    order = np.random.default_rng(1).permutation(8192)
    one_by_one = np.bincount(np.zeros(8192, np.int64), weights)[0]
    assert one_by_one == np.bincount(np.zeros(8192, np.int64), weights[order])[0] == fsum(weights)
    np.testing.assert_allclose(weights, np.random.default_rng(0).random(8192), rtol=0, atol=2.0**-41)


def test_memory_stays_below_the_matrix_of_everything() -> None:
    query, gallery = clustered(50, 0, vehicles=100), clustered(1950, 1, vehicles=100)
    tracemalloc.start()
    for _ in reranked_rows(query, gallery, k1=6, k2=3, chunk=16):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2000 * 2000 * 4 / 2


@pytest.mark.parametrize("wrong", [{"k1": 0}, {"k2": 0}, {"chunk": 0}, {"lambda_value": 1.5}, {"lambda_value": -0.1}])
def test_settings_outside_their_range_are_named(wrong: dict[str, Any]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=f"{name}={value}"):
        reranked_rows(clustered(2, 0), clustered(3, 1), **wrong)


def test_embeddings_are_checked_at_the_call() -> None:
    with pytest.raises(DataError, match="query embedding 0 has length 3"):
        reranked_rows(3 * clustered(2, 0), clustered(3, 1))
