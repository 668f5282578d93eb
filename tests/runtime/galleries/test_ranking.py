from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import DistanceBlock, distance_rows, nearest, top_k


def unit(rows: int, size: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, size)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def rounded_dot(query: NDArray[np.float32], other: NDArray[np.float32]) -> Fraction:
    """The dot product of the embeddings rounded to multiples of 2^-26, without any further rounding."""
    return sum((on_grid(a) * on_grid(b) for a, b in zip(query, other, strict=True)), Fraction(0))


def on_grid(number: np.float32) -> Fraction:
    return Fraction(round(Fraction(float(number)) * 2**26), 2**26)


def corners(rows: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors along few axes: most distances are tied, and all are exact."""
    return np.eye(3, dtype=np.float32)[np.random.default_rng(seed).integers(0, 3, rows)]


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_blocks_join_to_the_cosine_distances(chunk: int) -> None:
    query, gallery = unit(7, 16, seed=1), unit(11, 16, seed=2)
    blocks = [block.values for block in distance_rows(query, gallery, chunk=chunk)]
    assert [len(block) for block in blocks[:-1]] == [chunk] * (len(blocks) - 1)
    joined = np.concatenate(blocks)
    assert joined.dtype == np.float32
    naive = [[1 - sum(a * b for a, b in zip(q, g, strict=True)) for g in gallery] for q in query.tolist()]
    np.testing.assert_allclose(joined, naive, atol=1e-6)


def test_a_block_may_be_overwritten() -> None:
    query, gallery = unit(6, 4), unit(5, 4, seed=1)
    expected = np.concatenate([block.values for block in distance_rows(query, gallery)])
    kept = []
    for block in distance_rows(query, gallery, chunk=2):
        kept.append(block.values.copy())
        block.values[:] = np.nan
    np.testing.assert_allclose(np.concatenate(kept), expected, atol=1e-6)


def test_memory_does_not_grow_with_the_queries() -> None:
    gallery = unit(4000, 8)

    def peak(queries: int) -> int:
        query = unit(queries, 8)
        tracemalloc.start()
        for _ in distance_rows(query, gallery, chunk=16):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    one_block = 16 * 4000 * 4
    assert one_block < peak(32) < 4 * one_block
    assert peak(640) < 1.1 * peak(32)


@given(
    queries=st.integers(0, 6),
    gallery=st.integers(0, 12),
    k=st.integers(1, 14),
    seed=st.integers(0, 10_000),
    tied=st.booleans(),
)
def test_top_k_is_the_head_of_a_full_stable_sort(queries: int, gallery: int, k: int, seed: int, tied: bool) -> None:
    query, others = (
        (corners(queries, seed), corners(gallery, seed + 1))
        if tied
        else (unit(queries, 5, seed), unit(gallery, 5, seed + 1))
    )
    indices, similarities = top_k(query, others, k)
    assert indices.shape == similarities.shape == (queries, min(k, gallery))
    assert indices.dtype == np.int64
    assert similarities.dtype == np.float32
    for row, chosen, scores in zip(query, indices, similarities, strict=True):
        distances = [1 - rounded_dot(row, other) for other in others]
        assert chosen.tolist() == sorted(range(gallery), key=lambda g: (distances[g], g))[:k]
        np.testing.assert_allclose(scores, (others @ row)[chosen], atol=1e-6)


@given(values=st.lists(st.integers(0, 3), min_size=1, max_size=20), k=st.integers(1, 22))
def test_nearest_breaks_ties_by_column(values: list[int], k: int) -> None:
    distances = np.array([values, values[::-1]], dtype=np.float32)
    for row, columns in zip(distances.tolist(), nearest(DistanceBlock(distances), k)[0].tolist(), strict=True):
        assert columns == sorted(range(len(row)), key=lambda column: (row[column], column))[:k]


@pytest.mark.parametrize("shape", [(4, 3), (4,)])
def test_sizes_that_disagree_are_named(shape: tuple[int, ...]) -> None:
    query = np.zeros(shape, np.float32)
    with pytest.raises(DataError, match=r"query embeddings \[4.* gallery embeddings \[2, 5\].*same model"):
        distance_rows(query, unit(2, 5))


@pytest.mark.parametrize(("scale", "length"), [(np.nan, "nan"), (2.0, "2"), (0.0, "0")])
def test_an_embedding_without_length_1_is_named(scale: float, length: str) -> None:
    gallery = unit(5, 4)
    gallery[3] *= scale
    with pytest.raises(DataError, match=rf"gallery embedding 3 has length {length}, .*1 of 5.*L2-normalize"):
        distance_rows(unit(2, 4), gallery)
    with pytest.raises(DataError, match="query embedding 3 has length"):
        top_k(gallery, unit(2, 4), 1)


def test_the_rounding_of_fp16_is_accepted() -> None:
    halved = unit(50, 64).astype(np.float16).astype(np.float32)
    assert len(next(distance_rows(halved, halved))) == 50


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="chunk is 0"):
        distance_rows(unit(1, 2), unit(1, 2), chunk=0)
    with pytest.raises(ValueError, match="k is 0"):
        top_k(unit(1, 2), unit(1, 2), 0)
