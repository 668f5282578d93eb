"""What is the folder of a store, and what becomes of one that gets nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored_galleries import SPACE, files_of, make_entries, unit

from reid.runtime.errors import ReidError
from reid.runtime.files import storage
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.store_folder import is_stored, writable_store


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format_version": 1}', "not json", "[" * 100_000])
def test_a_gallery_json_of_something_else_makes_no_store(tmp_path: Path, content: str) -> None:
    (tmp_path / "gallery.json").write_text(content)
    assert not is_stored(tmp_path)


def test_a_copy_without_the_lock_is_a_store(tmp_path: Path) -> None:
    Store.create(tmp_path / "store", SPACE).close()
    (tmp_path / "store" / "lock").unlink()
    assert is_stored(tmp_path / "store")


@pytest.mark.parametrize("was_there", [False, True])
def test_a_new_store_that_gets_nothing_goes_but_not_a_folder_that_was_there(tmp_path: Path, was_there: bool) -> None:
    path = tmp_path / "store"
    if was_there:
        path.mkdir()
    with writable_store(path, SPACE) as store:
        assert len(store) == 0
    assert path.exists() == was_there
    assert not was_there or files_of(path) == set()


def test_what_somebody_puts_into_a_new_store_stays(tmp_path: Path) -> None:
    with writable_store(tmp_path / "store", SPACE):
        (tmp_path / "store" / "thesis").write_text("years of work")
    assert files_of(tmp_path / "store") == {"thesis"}


def test_of_two_that_make_a_store_at_once_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "store", storage._check_replaceable
    begun: list[bool] = []
    first: list[Store] = []

    def slow(target: Path, shown: Path, records: storage.Records | None) -> None:
        real(target, shown, records)
        if not begun and list(tmp_path.glob(".store.*.partial")):  # the last check, just before it is put in its place
            begun.append(True)
            first.append(Store.create(path, SPACE))
            first[0].add(make_entries("a"), unit(1))

    monkeypatch.setattr(storage, "_check_replaceable", slow)
    with pytest.raises(ReidError, match="store was made by another process meanwhile"):
        Store.create(path, SPACE)
    first[0].add(make_entries("b"), unit(1))
    assert [entry.id for entries, _ in first[0].batches() for entry in entries] == ["a", "b"]
    first[0].close()
    assert files_of(tmp_path) == {"store"}
