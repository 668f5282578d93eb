from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from reid.runtime.galleries.expansion import expanded_queries
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing, distance_blocks, top_k_of
from reid.runtime.galleries.ranking import distance_rows, exact_distances, top_k
from reid.runtime.galleries.reranking import reranked_rows

ALL = [PostProcessing(k, rerank) for k, rerank in itertools.product((0, 3), (False, True))]


def unit(rows: int, size: int = 12, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, size)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def joined(query: NDArray[np.float32], gallery: NDArray[np.float32], step: PostProcessing, chunk: int = 256) -> object:
    return np.concatenate([block.values for block in distance_blocks(query, gallery, step, chunk=chunk)])


def test_every_combination_has_a_name() -> None:
    assert [step.name for step in ALL] == [
        "plain",
        "re-ranking",
        "query expansion (3)",
        "query expansion (3), re-ranking",
    ]
    assert PostProcessing() == PLAIN == ALL[0]


def test_without_any_the_ranking_is_plain() -> None:
    query, gallery = unit(7), unit(20, seed=1)
    expected = np.concatenate([block.values for block in distance_rows(query, gallery)])
    np.testing.assert_array_equal(joined(query, gallery, PLAIN), expected)
    for found, plain in zip(top_k_of(query, gallery, 5, PLAIN), top_k(query, gallery, 5), strict=True):
        np.testing.assert_array_equal(found, plain)


def test_queries_are_expanded_before_they_are_re_ranked() -> None:
    query, gallery = unit(7), unit(30, seed=1)
    expanded = expanded_queries(query, gallery, 3)
    np.testing.assert_array_equal(
        joined(query, gallery, PostProcessing(3, True)),
        np.concatenate([block.values for block in reranked_rows(expanded, gallery)]),
    )
    results = [joined(query, gallery, step) for step in ALL]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(results, 2))


@pytest.mark.parametrize("step", ALL, ids=lambda step: step.name)
def test_the_best_are_the_smallest_distances_and_scores_what_is_left_of_1(step: PostProcessing) -> None:
    query, gallery = unit(6), unit(25, seed=1)
    distances = np.concatenate([block.values for block in distance_blocks(query, gallery, step)])
    if not step.rerank:
        asked = expanded_queries(query, gallery, 3) if step.expand_queries else query
        distances = exact_distances(asked, gallery).astype(np.float32)
    indices, scores = top_k_of(query, gallery, 4, step)
    np.testing.assert_array_equal(indices, np.argsort(distances, axis=1, kind="stable")[:, :4])
    np.testing.assert_allclose(scores, 1 - np.sort(distances, axis=1)[:, :4], atol=1e-7)


@pytest.mark.parametrize("step", ALL, ids=lambda step: step.name)
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_the_size_of_the_blocks_changes_no_distance(step: PostProcessing, chunk: int) -> None:
    query, gallery = unit(9), unit(21, seed=1)
    found, expected = joined(query, gallery, step, chunk), joined(query, gallery, step)
    np.testing.assert_allclose(found, expected, atol=0 if step.rerank else 1e-6)  # else a product of another shape


@pytest.mark.parametrize("k", [-1, 1001])
def test_a_number_of_neighbors_out_of_its_range_is_named(k: int) -> None:
    with pytest.raises(ValueError, match=f"expand_queries={k}: expected 0 to 1000"):
        PostProcessing(k)


def test_no_match_at_all_is_no_request() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        top_k_of(unit(1), unit(2), 0, PostProcessing(1))
