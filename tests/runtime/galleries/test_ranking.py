from __future__ import annotations

import time
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import DistanceBlock, distance_rows, exact_distances, nearest, top_k


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


@st.composite
def neighbors(draw: st.DrawFn, rows: int, size: int) -> NDArray[np.float32]:
    """Unit vectors of which many are the same, and many others differ by one bit in one number."""
    vectors = unit(rows, size, draw(st.integers(0, 10_000)))
    for row in range(1, rows):
        match draw(st.sampled_from(["own", "copy", "one bit off"])):
            case "copy":
                vectors[row] = vectors[row - 1]
            case "one bit off":
                vectors[row] = vectors[row - 1]
                place = draw(st.integers(0, size - 1))
                vectors[row, place] = np.nextafter(vectors[row, place], np.float32(draw(st.sampled_from([-2, 2]))))
    return vectors


@settings(deadline=None)  # fractions are slow
@given(data=st.data(), queries=st.integers(0, 4), gallery=st.integers(0, 12), k=st.integers(1, 14))
def test_top_k_is_the_head_of_a_stable_sort_by_exact_distances(
    data: st.DataObject, queries: int, gallery: int, k: int
) -> None:
    size = data.draw(st.sampled_from([1, 2, 5, 33]))
    vectors = data.draw(neighbors(queries + gallery, size))
    query, others = vectors[:queries], vectors[queries:]
    indices, similarities = top_k(query, others, k)
    assert indices.shape == similarities.shape == (queries, min(k, gallery))
    assert indices.dtype == np.int64
    assert similarities.dtype == np.float32
    for row, chosen, scores in zip(query, indices.tolist(), similarities, strict=True):
        exact = [rounded_dot(row, other) for other in others]
        assert chosen == sorted(range(gallery), key=lambda g: (-exact[g], g))[:k]
        assert scores.tolist() == [np.float32(float(exact[g])) for g in chosen]
        np.testing.assert_allclose(scores, (others @ row)[chosen], atol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 9, 30])
def test_top_k_of_exact_corners_is_the_head_of_a_stable_sort(k: int) -> None:
    query, others = corners(6, 0), corners(12, 1)
    indices, _ = top_k(query, others, k)
    for row, chosen in zip(query, indices.tolist(), strict=True):
        assert chosen == sorted(range(12), key=lambda g: (-float(others[g] @ row), g))[:k]


@settings(deadline=None)
@given(data=st.data(), size=st.sampled_from([1, 3, 40]))
def test_exact_distances_are_those_of_fractions(data: st.DataObject, size: int) -> None:
    vectors = data.draw(neighbors(6, size))
    expected = [[float(1 - rounded_dot(a, b)) for b in vectors[2:]] for a in vectors[:2]]
    assert exact_distances(vectors[:2], vectors[2:]).tolist() == expected


@pytest.mark.parametrize("order", ["C", "F", "strided", "reversed"])
def test_the_layout_in_memory_changes_no_bit(order: str) -> None:
    query, gallery = unit(5, 301), unit(1200, 301, seed=1)  # more than one tile
    laid_out = {
        "C": gallery,
        "F": np.asfortranarray(gallery),
        "strided": np.repeat(gallery, 2, axis=1)[:, ::2],
        "reversed": gallery[::-1].copy()[::-1],
    }[order]
    expected = np.concatenate([exact_distances(row[None], gallery) for row in query])
    np.testing.assert_array_equal(exact_distances(query, laid_out), expected)
    np.testing.assert_array_equal(top_k(query, laid_out, 7)[0], np.argsort(expected, axis=1, kind="stable")[:, :7])


@pytest.mark.parametrize("size", [1, 64, 1536, 4096])
@pytest.mark.parametrize("kind", ["random", "one direction", "alternating", "too long"])
def test_the_product_is_within_its_error(size: int, kind: str) -> None:
    vectors = unit(40, size)
    if kind == "one direction":  # partial sums grow steadily, and all roundings are of one kind
        vectors[:] = np.float32(size**-0.5)
    elif kind == "alternating":  # partial sums rise and fall
        vectors = np.abs(vectors) * np.where(np.arange(size) < size / 2, 1, -1).astype(np.float32)
    elif kind == "too long":
        vectors *= np.float32(1.0099)
    (block,) = distance_rows(vectors, vectors)
    assert 0 < block.error < 3e-4
    assert np.abs(block.values - exact_distances(vectors, vectors)).max() <= block.error


def test_asking_for_much_or_for_little_gives_the_same_bits() -> None:
    query, gallery = unit(3, 100), unit(200, 100, seed=1)
    (block,) = distance_rows(query, gallery)
    columns = np.arange(5)
    before = [block.exact(row, columns) for row in range(3)]
    everything = block.exact(1, np.arange(200))  # from now on, the whole block is known
    np.testing.assert_array_equal(before, [block.exact(row, columns) for row in range(3)])
    np.testing.assert_array_equal(everything, exact_distances(query, gallery)[1])


def test_entries_at_infinity_are_left_out() -> None:
    query, gallery = unit(2, 20), unit(6, 20, seed=1)
    (block,) = distance_rows(query, gallery)
    block.values[0, [0, 2, 3, 5]] = np.inf
    columns, distances = nearest(block, 4)
    exact = exact_distances(query, gallery)
    assert columns[0].tolist() == [*sorted((1, 4), key=lambda g: exact[0, g]), -1, -1]
    assert distances[0].tolist() == [*exact[0, columns[0, :2]], np.inf, np.inf]
    assert columns[1].tolist() == np.argsort(exact[1])[:4].tolist()


def test_a_large_gallery_of_equal_embeddings_costs_no_more_than_its_exact_product() -> None:
    """Everything is tied with everything: the worst that can be asked."""
    gallery = np.repeat(unit(1, 128), 11_579, axis=0)
    tracemalloc.start()
    start = time.process_time()
    indices, similarities = top_k(gallery[:300], gallery, 10)
    seconds = time.process_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (indices == np.arange(10)).all()
    assert len(np.unique(similarities)) == 1
    assert peak < 256 * 11_579 * 8 * 3  # a block in float32 and in float64, and what sorts it
    assert seconds < 10


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
