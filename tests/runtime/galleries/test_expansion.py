from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.expansion import MOST_NEIGHBORS, expanded_queries
from reid.runtime.galleries.ranking import distance_rows


def unit(rows: int, size: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, size)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def naive(query: NDArray[np.float32], gallery: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """The mean of each query and its k nearest, one query, one entry at a time."""
    expanded = []
    for q in query.astype(np.float64):
        entries = sorted(gallery.astype(np.float64), key=lambda g: float(((q - g) ** 2).sum()))
        total = q.copy()
        for entry in entries[:k]:
            total += entry
        mean = total / (1 + min(k, len(gallery)))
        expanded.append(mean / np.sqrt((mean**2).sum()))
    return np.array(expanded)


def adjacency(query: NDArray[np.float32], gallery: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """The same as a product of matrices: an adjacency of everything, with a query's own entry, times everything."""
    everything = np.concatenate([query, gallery]).astype(np.float64)
    similarity = everything[: len(query)] @ everything.T
    similarity[:, : len(query)] = -np.inf  # another query is no neighbor
    place = np.argsort(np.argsort(-similarity, axis=1), axis=1)
    joined = (place < min(k, len(gallery))).astype(np.float64)
    joined[np.arange(len(query)), np.arange(len(query))] = 1
    sums = joined @ everything
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True))


def weighted(query: NDArray[np.float32], gallery: NDArray[np.float32], k: int, alpha: float) -> NDArray[np.float64]:
    """What the expansion of re-ID toolboxes does for a query that is asked alone.

    Query and gallery are one set; the `k` nearest in it, of which the query is the first, are averaged with weights of
    similarity to the power of `alpha`.
    """
    expanded = []
    for q in query.astype(np.float64):
        features = np.vstack([q, gallery])
        similarity = features @ q
        first = np.argsort(-similarity)[:k]
        mean = (features[first] * similarity[first, None] ** alpha).mean(axis=0)
        expanded.append(mean / np.linalg.norm(mean))
    return np.array(expanded)


@pytest.mark.parametrize("k", [1, 2, 5, 30, 31, 200])
def test_three_other_ways_to_compute_it_agree(k: int) -> None:
    query, gallery = unit(9, 16), unit(30, 16, seed=1)
    found = expanded_queries(query, gallery, k, chunk=4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, naive(query, gallery, k), atol=1e-7)
    np.testing.assert_allclose(found, adjacency(query, gallery, k), atol=1e-7)
    np.testing.assert_allclose(found, weighted(query, gallery, k + 1, alpha=0), atol=1e-7)


@pytest.mark.parametrize("size", [2, 300, 1536])
def test_rows_are_of_length_1_and_rounded_once(size: int) -> None:
    query, gallery = unit(3, size), unit(40, size, seed=1)
    found = expanded_queries(query, gallery, 4)
    np.testing.assert_allclose(np.linalg.norm(found.astype(np.float64), axis=1), 1, atol=1e-6)
    for row, (q, distances) in enumerate(zip(query, 1 - query @ gallery.T, strict=True)):
        parts = [q, *gallery[np.argsort(distances)[:4]]]
        sums = [sum(Fraction(float(part[place])) for part in parts) for place in range(size)]
        length = float(sum(one * one for one in sums)) ** 0.5
        expected = np.array([float(one) / length for one in sums])
        assert (abs(found[row] - expected) <= np.spacing(abs(expected).astype(np.float32))).all()


@given(st.integers(1, 40), st.integers(0, 10_000))
def test_the_order_of_the_gallery_and_the_blocks_change_no_bit(k: int, seed: int) -> None:
    query, gallery = unit(5, 24, seed), unit(33, 24, seed + 1)
    order = np.random.default_rng(seed).permutation(len(gallery))
    expected = expanded_queries(query, gallery, k)
    np.testing.assert_array_equal(expanded_queries(query, gallery[order], k, chunk=2), expected)
    for row in range(len(query)):
        np.testing.assert_array_equal(expanded_queries(query[[row]], gallery, k)[0], expected[row])


def test_ties_go_in_the_order_of_the_gallery() -> None:
    axes = np.eye(3, dtype=np.float32)
    query, gallery = axes[:1], axes[[1, 2, 1, 2]]
    np.testing.assert_allclose(expanded_queries(query, gallery, 1), [[0.5**0.5, 0.5**0.5, 0]], atol=1e-7)
    np.testing.assert_allclose(expanded_queries(query, gallery[1:], 1), [[0.5**0.5, 0, 0.5**0.5]], atol=1e-7)
    np.testing.assert_allclose(expanded_queries(query, gallery, 3), np.array([[1, 2, 1]]) / 6**0.5, atol=1e-7)


def test_copies_of_the_query_leave_it_as_it_is() -> None:
    query = unit(4, 64)
    found = expanded_queries(query, np.repeat(query, 3, axis=0), 3)
    np.testing.assert_allclose(found, query, atol=1e-7)
    np.testing.assert_array_equal(np.argmin(1 - found @ query.T, axis=1), np.arange(4))


def test_a_mean_without_a_direction_leaves_the_query_as_it_is() -> None:
    query = unit(2, 8)
    np.testing.assert_array_equal(expanded_queries(query, -query[:1], 1)[0], query[0])


def test_neither_input_changes() -> None:
    query, gallery = unit(6, 8), unit(9, 8, seed=1)
    kept = query.copy(), gallery.copy()
    expanded_queries(query, gallery, 3, chunk=2)
    np.testing.assert_array_equal(query, kept[0])
    np.testing.assert_array_equal(gallery, kept[1])


def test_memory_does_not_grow_with_queries_times_gallery() -> None:
    gallery = unit(4000, 8)

    def peak(queries: int) -> int:
        query = unit(queries, 8)
        tracemalloc.start()
        expanded_queries(query, gallery, 5, chunk=16)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest - query.nbytes

    assert 16 * 4000 * 4 < peak(32) < 6 * 16 * 4000 * 4
    assert peak(640) < 1.1 * peak(32)


def test_it_brings_what_is_behind_a_corner_nearer() -> None:
    """A chain of vehicles, each a step further: one hop shows more of the chain than none."""
    angles = np.radians([0, 20, 40, 60])
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    plain, expanded = (
        next(iter(distance_rows(q, chain[1:]))).values for q in (chain[:1], expanded_queries(chain[:1], chain[1:], 2))
    )
    assert expanded[0, 2] < plain[0, 2]
    assert np.argsort(expanded[0]).tolist() == [0, 1, 2]


@pytest.mark.parametrize("k", [-1, 0, MOST_NEIGHBORS + 1])
def test_a_number_of_neighbors_out_of_its_range_is_named(k: int) -> None:
    with pytest.raises(ValueError, match=f"neighbors={k}: expected 1 to 1000"):
        expanded_queries(unit(1, 4), unit(2, 4), k)


def test_embeddings_are_checked() -> None:
    with pytest.raises(DataError, match="gallery embedding 0 has length 2"):
        expanded_queries(unit(1, 4), 2 * unit(2, 4), 1)
