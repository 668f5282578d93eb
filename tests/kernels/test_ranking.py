"""The best matches on the device beside a sort of all scores, and beside the runtime's own ranking."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_device import KernelDevice
from numpy.typing import DTypeLike, NDArray

from reid.runtime.galleries.ranking import exact_distances
from reid.runtime.kernels.top_k import Conditions, Matches, TopK

Floats = NDArray[np.float32]


def embeddings(count: int, dimensions: int, seed: int) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def in_order(queries: Floats, gallery: Floats) -> Floats:
    """Scores [Q, G] as the kernel promises them: each product added to the sum and rounded once, in order.

    A product of two float32 is exact in float64. Their sum is not always, but rounds to the same float32 nearly always;
    where it does not, the last bit differs.
    """
    sums = np.zeros((len(queries), len(gallery)), np.float32)
    for column in range(queries.shape[1]):
        products = queries[:, None, column].astype(np.float64) * gallery[None, :, column].astype(np.float64)
        sums = (sums + products).astype(np.float32)
    return sums


def sorted_matches(scores: Floats, k: int) -> tuple[NDArray[np.int64], Floats]:
    """The best k of scores [Q, G] by a stable sort: minus infinity is no match."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    entries = np.where(np.isneginf(best), -1, order)
    missing = ((0, 0), (0, k - entries.shape[1]))
    return np.pad(entries, missing, constant_values=-1), np.pad(best, missing, constant_values=-np.inf)


def found(device: KernelDevice, matches: Matches) -> tuple[NDArray[np.int32], Floats]:
    return device.get(matches.entries), device.get(matches.scores)


def check(device: KernelDevice, matches: Matches, scores: Floats, k: int) -> None:
    """Compare with a sort of `scores`; where the order differs, so do scores that are equal but for rounding."""
    entries, values = found(device, matches)
    expected, best = sorted_matches(scores, k)
    np.testing.assert_allclose(values, best, rtol=0, atol=2e-6)
    assert np.array_equal(entries < 0, expected < 0)
    again = np.where(entries < 0, -np.inf, np.take_along_axis(scores, np.maximum(entries, 0).astype(int), axis=1))
    np.testing.assert_allclose(values, again, rtol=0, atol=2e-6)
    for row in entries:
        kept = row[row >= 0]
        assert len(np.unique(kept)) == len(kept)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("queries", "entries", "dimensions", "k"),
    [
        (1, 1, 8, 1),
        (1, 700, 64, 10),
        (3, 129, 24, 200),
        (20, 300, 40, 5),
        (32, 1030, 16, 20),
        (33, 257, 72, 300),
        (130, 140, 16, 140),
    ],
)
def test_matches_are_those_of_a_sort_of_all_scores(
    device: KernelDevice, queries: int, entries: int, dimensions: int, k: int, dtype: DTypeLike
) -> None:
    asked, gallery = embeddings(queries, dimensions, 1), embeddings(entries, dimensions, 2).astype(dtype)
    matches = TopK(device.kernels, queries, k).find(device.put(asked), device.put(gallery), device.stream)
    check(device, matches, in_order(asked, gallery.astype(np.float32)), k)


@pytest.mark.parametrize("queries", [2, 40])
def test_a_gallery_of_many_parts_is_one_gallery(device: KernelDevice, queries: int) -> None:
    """A part is 512 entries; 1300 are two and a half."""
    asked, gallery = embeddings(queries, 32, 1), embeddings(1300, 32, 2)
    arrays = device.put(asked), device.put(gallery)
    whole = found(device, TopK(device.kernels, queries, 50).find(*arrays, device.stream))
    parts = found(device, TopK(device.kernels, queries, 50, scratch=1).find(*arrays, device.stream))
    assert np.array_equal(whole[0], parts[0])
    assert np.array_equal(whole[1], parts[1])


@pytest.mark.parametrize("scratch", [1, 1 << 26])
@pytest.mark.parametrize("queries", [1, 90])
def test_equal_embeddings_get_equal_scores_and_keep_the_gallery_s_order(
    device: KernelDevice, queries: int, scratch: int
) -> None:
    asked, kinds = embeddings(queries, 48, 1), embeddings(3, 48, 2)
    which = np.random.default_rng(3).integers(0, 3, 1100)
    top_k = TopK(device.kernels, queries, 400, scratch)
    entries, scores = found(device, top_k.find(device.put(asked), device.put(kinds[which]), device.stream))
    for query in range(queries):
        order = np.argsort(-in_order(asked[query : query + 1], kinds)[0], kind="stable")
        expected = np.concatenate([np.flatnonzero(which == kind) for kind in order])[:400]
        assert np.array_equal(entries[query], expected)
        assert len(np.unique(scores[query])) <= 3


@pytest.mark.parametrize("order", ["rising", "shuffled"])
def test_more_scores_than_a_block_has_room_for_are_sorted_in_between(device: KernelDevice, order: str) -> None:
    """Where they rise, every entry beats all before it, and none is passed over."""
    cosines = np.linspace(-0.9, 0.9, 7000, dtype=np.float32)
    if order == "shuffled":
        np.random.default_rng(5).shuffle(cosines)
    gallery = np.zeros((7000, 8), np.float32)
    gallery[:, 0], gallery[:, 1] = cosines, np.sqrt(1 - cosines**2)
    asked = np.tile(np.eye(1, 8, dtype=np.float32), (70, 1))  # as many as have one stripe each
    top_k = TopK(device.kernels, 70, 1024)
    entries, scores = found(device, top_k.find(device.put(asked), device.put(gallery), device.stream))
    expected = np.argsort(-cosines, kind="stable")[:1024]
    assert np.array_equal(entries, np.tile(expected, (70, 1)))
    assert np.array_equal(scores, np.tile(cosines[expected], (70, 1)))


@pytest.mark.parametrize("queries", [3, 40])
def test_conditions_leave_out_what_a_loop_leaves_out(device: KernelDevice, queries: int) -> None:
    random = np.random.default_rng(4)
    asked, gallery = embeddings(queries, 16, 1), embeddings(300, 16, 2)
    camera, time = random.integers(0, 40, 300).astype(np.int32), random.uniform(0, 100, 300)
    camera[[5, 9]], time[[6, 8]] = (-1, 40), (np.nan, -np.inf)
    windows = random.uniform(-20, 120, (queries, 40, 2, 2))  # every other one ends before it begins
    windows[0, camera[17]] = time[17], time[17]  # both ends belong to it
    windows[1] = -np.inf, np.inf
    conditions = Conditions(device.put(camera), device.put(time), device.put(windows))
    scores = in_order(asked, gallery)
    for query in range(queries):
        for entry in range(300):
            known = 0 <= camera[entry] < 40
            own = windows[query, camera[entry]] if known else ()
            if not any(first <= time[entry] <= last for first, last in own):
                scores[query, entry] = -np.inf
    assert np.isneginf(scores[1]).sum() == 3  # two cameras, and the time that is no number
    matches = TopK(device.kernels, queries, 60).find(device.put(asked), device.put(gallery), device.stream, conditions)
    check(device, matches, scores, 60)


def test_nan_is_no_match_and_an_empty_gallery_has_none(device: KernelDevice) -> None:
    asked, gallery = embeddings(2, 8, 1), embeddings(6, 8, 2)
    gallery[[1, 4]] = np.nan
    top_k = TopK(device.kernels, 2, 8)
    entries, scores = found(device, top_k.find(device.put(asked), device.put(gallery), device.stream))
    assert [sorted(row) for row in entries] == [[-1, -1, -1, -1, 0, 2, 3, 5]] * 2
    assert np.isneginf(scores[entries < 0]).all()
    entries, _ = found(device, top_k.find(device.put(asked), device.empty((0, 8), np.float32), device.stream))
    assert (entries == -1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_exact_distances_are_the_runtime_s_bit_for_bit(device: KernelDevice, dtype: DTypeLike) -> None:
    asked, gallery = embeddings(3, 1536, 1), embeddings(20, 1536, 2).astype(dtype)
    asked[1] = gallery[7]
    top_k = TopK(device.kernels, 3, 24)
    arrays = device.put(asked), device.put(gallery)
    matches = top_k.find(*arrays, device.stream)
    distances = device.get(top_k.exact_distances(*arrays, matches, device.stream))
    entries = device.get(matches.entries)
    expected = np.take_along_axis(
        exact_distances(asked, gallery.astype(np.float32)), entries[:, :20].astype(int), axis=1
    )
    assert np.array_equal(distances[:, :20], expected)
    assert np.isposinf(distances[:, 20:]).all()


def test_a_query_s_matches_do_not_depend_on_who_else_asks(device: KernelDevice) -> None:
    """One query alone has tiles of another shape, and its scores are read in stripes."""
    asked, gallery = embeddings(40, 72, 1), embeddings(600, 72, 2).astype(np.float16)
    top_k = TopK(device.kernels, 40, 30)
    together = found(device, top_k.find(device.put(asked), device.put(gallery), device.stream))
    for query in (0, 17, 39):
        alone = found(device, top_k.find(device.put(asked[[query]]), device.put(gallery), device.stream))
        assert np.array_equal(alone[0][0], together[0][query])
        assert np.array_equal(alone[1][0], together[1][query])
