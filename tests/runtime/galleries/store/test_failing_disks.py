"""A disk that fails, or a process that lacks something, is an error that says so, and costs nothing that was there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray
from stored_galleries import DIMENSIONS, SPACE, contents, make_entries, unit

from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import LENGTH_TOLERANCE
from reid.runtime.galleries.store import blocks
from reid.runtime.galleries.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "gallery", SPACE) as store:
        store.add(make_entries("abc"), unit(3))
        yield store


def fail(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Let a call to the system fail."""

    def failing(*arguments: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, failing)


def fail_once_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a folder be flushed once, with what a manifest is to name, and never again: nor with the manifest."""
    real, flushed = os.fsync, []

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            flushed.append(descriptor)
            if len(flushed) > 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)


def test_a_block_that_cannot_be_read_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(store.path) as reader:
        fail(monkeypatch, "pread", errno.EIO)
        with pytest.raises(DataError, match=r"segment-\w+\.rows is damaged \(Input/output error\)"):
            reader.search(unit(1), 1)


def test_a_file_that_was_shortened_is_an_error(store: Store) -> None:
    with Store.open(store.path) as reader:
        os.truncate(store.segments[0].path, 9)
        with pytest.raises(DataError, match=r"is damaged \(it ends after 9 bytes\)"):
            reader.search(unit(1), 1)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.ESTALE])
@pytest.mark.parametrize("what", ["gallery.json", "segment-*", "removed-*"])
def test_what_this_process_lacks_is_no_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    store.remove(["b"])
    (path,) = store.path.glob(what)
    real = os.open

    def opened(name: str | Path, *arguments: int) -> int:
        if Path(name) == path:
            raise OSError(number, os.strerror(number), str(name))
        return real(name, *arguments)

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(DataError) as error:
        Store.open(store.path)
    assert str(error.value).startswith(f"{path} cannot be read ({os.strerror(number)}); ")
    assert "damaged" not in str(error.value)


def test_what_is_verified_is_read_again_and_not_used_after_it_was_damaged(store: Store) -> None:
    store.search(unit(1), 1)
    path = store.segments[0].path
    with path.open("r+b") as file:
        file.write(b"\xff")
    (problem,) = store.verify()
    assert f"{path.name} is damaged" in problem
    with pytest.raises(DataError, match=f"{path.name} is damaged"):
        store.search(unit(1), 1)


def test_nothing_is_removed_before_the_manifest_outlasts_a_loss_of_power(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.remove(["b"])
    former, expected = {path.name: path.read_bytes() for path in store.path.iterdir()}, list(contents(store))
    with monkeypatch.context() as patch:
        fail_once_replaced(patch)
        with pytest.raises(OSError, match="Input/output"):
            store.compact()
        store.close()
        with pytest.raises(OSError, match="Input/output"):
            Store.open(store.path, write=True)
    assert {path.name for path in store.path.iterdir()} > former.keys()
    (store.path / "gallery.json").write_bytes(former["gallery.json"])  # what a loss of power may bring back
    with Store.open(store.path) as found:
        assert list(contents(found)) == expected


def unreadable(path: Path) -> BinaryIO:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))


def test_a_store_that_cannot_tell_what_is_on_disk_is_not_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        fail_once_replaced(patch)
        patch.setattr(blocks, "open_regular", unreadable)
        with pytest.raises(OSError, match="Input/output"):
            store.add(make_entries("d"), unit(1))
    with pytest.raises(ValueError, match="is closed; open it again"):
        store.search(unit(1), 1)
    store.close()
    with Store.open(store.path, write=True) as again:
        assert again.verify() == []


@pytest.mark.parametrize("length", [1 - LENGTH_TOLERANCE, 1 + LENGTH_TOLERANCE])
def test_what_was_let_in_is_sound_after_it_was_rounded(tmp_path: Path, length: float) -> None:
    directions: NDArray[np.float64] = np.random.default_rng(0).standard_normal((500, DIMENSIONS))
    directions *= (length + np.sign(1 - length) * 1e-6) / np.linalg.norm(directions, axis=1, keepdims=True)
    with Store.create(tmp_path / "gallery", SPACE, storage="fp16") as store:
        store.add(make_entries(map(str, range(500))), directions.astype(np.float32))
        assert store.verify() == []


def test_one_id_is_no_list_of_ids(store: Store) -> None:
    with pytest.raises(TypeError, match="give a list of ids"):
        store.remove("abc")
    assert list(contents(store)) == ["a", "b", "c"]
