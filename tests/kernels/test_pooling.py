"""Sums over batches and their normalization beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_device import KernelDevice

from reid.runtime.kernels.library import ADDITION


@pytest.mark.parametrize("dimensions", [8, 1536, 2056])
def test_tracklets_over_several_batches_are_summed_in_order(device: KernelDevice, dimensions: int) -> None:
    random = np.random.default_rng(dimensions)
    sums, weights = device.put(np.full((9, dimensions), np.nan, np.float32)), device.put(np.full(9, np.nan, np.float32))
    expected: dict[int, np.ndarray] = {}
    counts: dict[int, np.float32] = {}
    for rows in ([7, 0], [0, 3, 8], [3], [8, 7, 3, 0], [3, 0]):
        pooled = random.normal(size=(5, dimensions)).astype(np.float32)  # with rows that belong to nobody
        additions = np.array([(row, row not in expected, random.uniform()) for row in rows], ADDITION)
        for row, addition, weight in zip(rows, pooled, additions["weight"], strict=False):
            expected[row] = addition if row not in expected else expected[row] + addition
            counts[row] = weight if row not in counts else counts[row] + weight
        device.kernels.accumulate(device.put(pooled), additions, device.room(), sums, weights, device.stream)
    found, totals = device.get(sums), device.get(weights)
    for row in range(9):
        if row in expected:
            assert np.array_equal(found[row], expected[row])
            assert totals[row] == counts[row]
        else:
            assert np.isnan(found[row]).all()
            assert np.isnan(totals[row])


@pytest.mark.parametrize("dimensions", [8, 1024, 1536])
def test_normalized_rows_have_length_1_and_zero_stays_zero(device: KernelDevice, dimensions: int) -> None:
    random = np.random.default_rng(dimensions)
    sums = random.normal(size=(6, dimensions), scale=[[1], [1e-3], [0], [50], [1], [1]]).astype(np.float32)
    rows = np.array([4, 2, 0, 3, 3, 1], np.int32)
    embeddings = device.put(np.full((8, dimensions), 5, np.float32))
    device.kernels.normalize(device.put(sums), rows, device.room(), embeddings, device.stream)
    found = device.get(embeddings)
    exact = sums[rows].astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    np.testing.assert_allclose(found[:6], exact / np.where(lengths == 0, 1, lengths), rtol=1e-6, atol=1e-9)
    assert not found[1].any()
    assert (found[6:] == 5).all()


def test_a_row_too_many_or_twice_is_refused(device: KernelDevice) -> None:
    sums, weights = device.empty((4, 16), np.float32), device.empty((4,), np.float32)
    pooled, room = device.empty((3, 16), np.float32), device.room()
    for rows, message in (
        ([1, 1], "same row"),
        ([0, 4], "row 4 .* 4"),
        ([-1], "row -1"),
        ([0, 1, 2, 3], "more than 3"),
    ):
        additions = np.array([(row, 1, 1) for row in rows], ADDITION)
        with pytest.raises(ValueError, match=message):
            device.kernels.accumulate(pooled, additions, room, sums, weights, device.stream)
    with pytest.raises(ValueError, match="row 9"):
        device.kernels.normalize(sums, np.array([9], np.int32), room, pooled, device.stream)
