"""What a store says that it has, beside what it finds: ids, kind, entries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_galleries import SPACE, contents, make_entries, unit

from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.protocol import GrowingGallery
from reid.runtime.galleries.store import segment
from reid.runtime.galleries.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three segments, of two of which something was removed."""
    with Store.create(tmp_path / "gallery", SPACE) as opened:
        for number, names in enumerate((map(str, range(20)), "abcde", "xy")):
            entries = make_entries(names, number)
            opened.add(entries, unit(len(entries), seed=number))
        opened.remove(["3", "7", "b"])
    return Store.open(tmp_path / "gallery")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(st.sampled_from(["0", "3", "7", "19", "20", "a", "b", "y", "z", "", "\udcff"]), max_size=12))
def test_it_knows_which_ids_it_has(store: Store, ids: list[str]) -> None:
    there = contents(store)
    assert store.contains(ids).tolist() == [name in there for name in ids]


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    with Store.create(tmp_path / "empty", SPACE) as empty:
        growing: GrowingGallery = empty
        assert growing.contains(["a", "b"]).tolist() == [False, False]
        assert growing.contains([]).tolist() == []
        assert growing.kind is None
        assert list(empty.entries()) == []


def test_entries_are_those_of_the_batches_and_take_no_embeddings(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "PIECE", 7)
    expected = [entries for entries, _ in store.batches()]
    monkeypatch.delattr(segment.Segment, "embeddings")
    monkeypatch.delattr(segment.Segment, "embeddings_of")
    assert list(store.entries()) == expected
    assert sum(map(len, expected)) == len(store) == 24


@pytest.mark.parametrize(
    ("frames", "kind"), [([1, 1], "images"), ([1, 3], "tracklets"), ([1, 0], None), ([0, 2], "tracklets"), ([0], None)]
)
def test_the_kind_follows_from_the_frames_that_are_left(tmp_path: Path, frames: list[int], kind: str | None) -> None:
    with Store.create(tmp_path / "store", SPACE) as store:
        store.add([Entry(f"{number}", frames=count) for number, count in enumerate(frames)], unit(len(frames)))
        assert store.kind == kind
        store.add([Entry("more", frames=5)], unit(1))
        assert store.kind == "tracklets"
        store.remove(["more"])
        assert store.kind == kind
        np.testing.assert_array_equal(store.contains(["more", "0"]), [False, True])
