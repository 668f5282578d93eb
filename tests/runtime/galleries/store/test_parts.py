from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_galleries import make_entries, unit

from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import distance_rows, exact_distances, nearest
from reid.runtime.galleries.store.blocks import BLOCK, Blocks, BlockWriter
from reid.runtime.galleries.store.candidates import Candidates, Proposal
from reid.runtime.galleries.store.columns import Columns, Texts
from reid.runtime.galleries.store.numbers import as_float32


def test_halves_are_converted_as_numpy_does() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = every[np.isfinite(every)].reshape(-1, 31)
    converted = as_float32(halves)
    assert converted.dtype == np.float32
    np.testing.assert_array_equal(converted.view(np.uint32), halves.astype(np.float32).view(np.uint32))
    assert as_float32(converted) is converted


@given(
    corners=st.booleans(),
    seed=st.integers(0, 1000),
    queries=st.integers(1, 4),
    rows=st.integers(0, 400),
    k=st.integers(1, 5),
    tile=st.sampled_from([1, 7, 64, 400]),
    left_out=st.sampled_from([0, 0.5, 1]),
)
def test_candidates_are_the_nearest_of_everything(
    corners: bool, seed: int, queries: int, rows: int, k: int, tile: int, left_out: float
) -> None:
    """With corners, hundreds are tied, more than are kept until the end."""
    rng = np.random.default_rng(seed)
    asked, gallery = unit(queries, 3, seed), unit(rows, 3, seed + 1)
    if corners:
        asked, gallery = (np.eye(3, dtype=np.float32)[rng.integers(0, 2, n)] for n in (queries, rows))
    out = rng.random((queries, rows)) < left_out
    candidates = Candidates(queries, k, lambda query, own: exact_distances(asked[query][None], gallery[own])[0])
    (whole,) = distance_rows(asked, gallery)
    whole.values[out] = np.inf
    for start in range(0, rows, tile):
        part = slice(start, start + tile)
        values = np.asfortranarray(whole.values[:, part])
        candidates.offer(0, Proposal(values, whole.error, asked, gallery[part]), np.arange(rows)[part])
    found, distances = candidates.best()
    expected, expected_distances = nearest(whole, k)
    columns = expected.shape[1]
    np.testing.assert_array_equal(found[:, :columns], expected)
    np.testing.assert_array_equal(distances[:, :columns], expected_distances)
    assert (found[:, columns:] == -1).all()


def test_what_float32_cannot_tell_apart_is_decided_exactly() -> None:
    """The values propose the reverse of the true order, by less than their error."""
    queries, k, rows = unit(2, 64), 3, 40
    gallery = np.repeat(queries[:1], rows, axis=0)
    gallery[:, 0] = np.float32(0.1)
    gallery[:, 1] = np.linspace(0, 1e-6, rows, dtype=np.float32)
    exact = exact_distances(queries, gallery)
    (block,) = distance_rows(gallery[:2] / np.linalg.norm(gallery[:2], axis=1)[:, None], queries)
    candidates = Candidates(2, k, lambda query, own: exact[query, own])
    values = (exact.mean(axis=1, keepdims=True) * 2 - exact).astype(np.float32)
    assert np.abs(values - exact).max() < block.error
    for start in range(0, rows, 10):
        tile = np.arange(start, start + 10)
        candidates.offer(0, Proposal(values[:, tile], block.error, queries, gallery[tile]), tile)
    found, _ = candidates.best()
    np.testing.assert_array_equal(found, np.argsort(exact, axis=1, kind="stable")[:, :k])


@given(count=st.integers(0, 9), seed=st.integers(0, 99), cut=st.integers(0, 9))
def test_entries_come_back_from_columns(count: int, seed: int, cut: int) -> None:
    entries = make_entries([f"\N{SNOWMAN}{number}" for number in range(count)], seed)
    assert Columns.of(entries).entries() == entries
    assert Columns.joined([Columns.of(entries[:cut]), Columns.of(entries[cut:])]).entries() == entries


@given(st.lists(st.text(alphabet=st.characters())))
def test_texts_come_back(texts: list[str]) -> None:
    assert list(Texts.of(texts)) == texts


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_every_byte_of_a_file_of_blocks_is_checked_when_it_is_used(tmp_path: Path, size: int) -> None:
    content = np.random.default_rng(size).bytes(size)
    file = io.BytesIO()
    writer = BlockWriter(file)
    for start in range(0, size, 100_000):
        writer.write(content[start : start + 100_000])
    digest = writer.finish(b"facts")
    assert writer.size == size
    path, byte = tmp_path / "blocks", np.dtype(np.uint8)
    path.write_bytes(file.getvalue())
    blocks = Blocks(path, size, b"facts", digest)
    assert blocks.array(byte, 0, size).tobytes() == content
    for place in {0, size // 2, size - 1}:
        damaged = bytearray(file.getvalue())
        damaged[place] ^= 1
        path.write_bytes(damaged)
        blocks = Blocks(path, size, b"facts", digest)
        for use in (
            lambda one, at: one.array(byte, at, 1),
            lambda one, at: one.rows(byte, 0, 1, np.array([at])),
            lambda one, at: one.spans(0, np.array([at]), np.array([at + 1])),
        ):
            with pytest.raises(DataError, match="is damaged"):
                use(blocks, place)
        elsewhere = (place + BLOCK) % size
        if elsewhere // BLOCK != place // BLOCK:
            assert blocks.array(byte, elsewhere, 1).tobytes() == content[elsewhere : elsewhere + 1]
    damaged = bytearray(file.getvalue())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="its checksums are not those"):
        Blocks(path, size, b"facts", digest)
    path.write_bytes(file.getvalue())
    with pytest.raises(DataError, match="its checksums are not those"):
        Blocks(path, size, b"other facts", digest)


def test_a_run_may_be_longer_than_blocks(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(4 * BLOCK)
    file = io.BytesIO()
    writer = BlockWriter(file)
    writer.write(content)
    digest = writer.finish(b"facts")
    damaged = bytearray(file.getvalue())
    damaged[2 * BLOCK] ^= 1
    (tmp_path / "blocks").write_bytes(damaged)
    blocks = Blocks(tmp_path / "blocks", 4 * BLOCK, b"facts", digest)
    assert blocks.spans(0, np.array([3, 9, BLOCK]), np.array([5, 9, BLOCK + 1])).tobytes() == (
        content[3:5] + content[BLOCK : BLOCK + 1]
    )
    with pytest.raises(DataError, match="is damaged"):
        blocks.spans(0, np.array([5]), np.array([4 * BLOCK]))
