"""Merging galleries of any kind into one of any kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from recording import Recorder
from stored_galleries import SPACE, Model, contents, make_entries, unit

from reid.runtime.errors import DataError, ModelError
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.protocol import Gallery
from reid.runtime.galleries.store.store import Store
from reid.runtime.merging import merge
from reid.runtime.space import Space


def in_memory(ids: str, seed: int = 0, space: Space = SPACE) -> MemoryGallery:
    return MemoryGallery(tuple(make_entries(ids, seed)), unit(len(ids), seed=seed), space)


def store_of(path: Path, ids: str, seed: int = 0) -> Store:
    with Store.create(path, SPACE) as store:
        store.add(make_entries(ids, seed), unit(len(ids), seed=seed))
    return Store.open(path)


def contents_of(gallery: Gallery) -> Model:
    pairs = ((one, row) for entries, rows in gallery.batches() for one, row in zip(entries, rows.tolist(), strict=True))
    return {entry.id: (entry, tuple(row)) for entry, row in pairs}


def test_any_gallery_goes_into_a_store_in_order(tmp_path: Path) -> None:
    others = {"north": in_memory("abc", 1), "south": store_of(tmp_path / "south", "de", 2)}
    progress = Recorder()
    with Store.create(tmp_path / "all", SPACE) as store:
        merge(others, store, progress)
        expected = contents_of(others["north"]) | contents_of(others["south"])
        assert list(contents(store).items()) == list(expected.items())
        assert store.verify() == []
    assert [(one.name, one.total, one.done) for one in progress.stages] == [("comparing ids", 5, 5), ("merging", 5, 5)]


def test_ids_are_compared_without_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryGallery, "batches", lambda self: pytest.fail("embeddings were read"))
    monkeypatch.setattr(MemoryGallery, "entries", lambda self: iter([self.members]))
    with Store.create(tmp_path / "all", SPACE) as store:
        store.add(make_entries("c"), unit(1))
        with pytest.raises(DataError, match="there is an entry 'c' of north already"):
            merge({"north": in_memory("abc")}, store)


@pytest.mark.parametrize("names", [("ab", "bc"), ("xa", "bc")])
def test_ids_that_meet_are_an_error_before_anything_is_added(tmp_path: Path, names: tuple[str, str]) -> None:
    with Store.create(tmp_path / "all", SPACE) as store:
        store.add(make_entries("x"), unit(1))
        with pytest.raises(DataError, match=r"there is an entry '(b' of south|x' of north) already"):
            merge({"north": in_memory(names[0]), "south": in_memory(names[1])}, store)
        assert list(contents(store)) == ["x"]


def test_another_model_is_an_error_before_anything_is_added(tmp_path: Path) -> None:
    others = {"north": in_memory("a"), "south": in_memory("b", space=Space("0" * 64, "fp32", SPACE.dimensions))}
    with Store.create(tmp_path / "all", SPACE) as store:
        with pytest.raises(ModelError, match="south was made by model 000000000000, this one is ffffffffffff"):
            merge(others, store)
        assert len(store) == 0


def test_stores_go_into_a_store_all_or_none(tmp_path: Path) -> None:
    others = {name: store_of(tmp_path / name, ids) for name, ids in (("north", "ab"), ("south", "cb"))}
    with Store.create(tmp_path / "all", SPACE) as store:
        with pytest.raises(DataError, match="there is an entry 'b' already"):
            merge(others, store)
        assert len(store) == 0
