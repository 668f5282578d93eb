"""The writer's lock is that of the folder that is there, and ends with whatever has it."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import pytest
from stored_galleries import SPACE, files_of, make_entries, unit

from reid.runtime.errors import DataError
from reid.runtime.galleries.store.lock import WriterLock
from reid.runtime.galleries.store.store import Store


def test_a_lock_that_nobody_has_any_more_is_free(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    del lock
    gc.collect()
    WriterLock(tmp_path).release()


def test_a_lock_of_a_file_that_is_replaced_meanwhile_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    real = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        (tmp_path / "lock").unlink()  # by another, between opening and locking
        real(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        with pytest.raises(DataError, match="was removed or replaced by another process"):
            WriterLock(tmp_path)
    WriterLock(tmp_path).release()


@pytest.mark.parametrize("is_during", [False, True])
def test_a_writer_whose_folder_was_replaced_leaves_the_new_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_during: bool
) -> None:
    path = tmp_path / "gallery"

    def replace() -> None:
        shutil.move(path, tmp_path / "moved")
        other = Store.create(path, SPACE)
        other.add(make_entries("xyz"), unit(3))
        (path / "segment-0000000000000000.rows").write_text("what the other has begun")
        before.update(files_of(path))

    before: set[str] = set()
    with Store.create(path, SPACE) as store:
        store.add(make_entries("a"), unit(1))
        if is_during:
            real = store._append
            monkeypatch.setattr(store, "_append", lambda *arguments: (replace(), real(*arguments)))
        else:
            replace()
        with pytest.raises(DataError, match="gallery was removed or replaced by another process; open it again"):
            store.add(make_entries("b"), unit(1))
    assert before <= files_of(path)
    with Store.open(path) as found:
        assert len(found) == 3
        assert found.verify() == []
