"""The folder of a store: whether a path is one, and one to write to, made where there is none."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from reid.runtime.errors import DataError
from reid.runtime.files.reading import read_file
from reid.runtime.files.validation import JSON_AT_MOST
from reid.runtime.galleries.store.lock import LOCK_FILE
from reid.runtime.galleries.store.manifest import MANIFEST_FILE, Storage
from reid.runtime.galleries.store.store import Store
from reid.runtime.space import Space

__all__ = ["aside_of", "is_stored", "writable_store"]


def aside_of(path: Path) -> Path:
    """Return where a migration has a store for a moment, on file systems that cannot exchange folders."""
    real = Path(os.path.realpath(path))
    return real.with_name(f"{real.name}.replaced")


def is_stored(path: Path) -> bool:
    """Return whether a path is the folder of a store: also of one that `Store.open` has to refuse.

    A folder of crops may hold a `gallery.json`, too. So what is in it decides, or a lock beside it if it is damaged.
    """
    manifest = path / MANIFEST_FILE
    return manifest.is_file() and ((path / LOCK_FILE).is_file() or _is_of_a_gallery(manifest))


def _is_of_a_gallery(manifest: Path) -> bool:
    try:
        facts = json.loads(read_file(manifest, at_most=JSON_AT_MOST))
    except OSError:
        return True  # to open it says why
    except (ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and {"format_version", "fingerprint"} <= facts.keys()


@contextlib.contextmanager
def writable_store(path: Path, space: Space, storage: Storage | None = None) -> Iterator[Store]:
    """Yield a store, open for writing; it is made where there is none, and goes again if it gets no entries.

    Args:
        path: its folder.
        space: the space of what it gets.
        storage: how a new one stores numbers, and an old one has to; None for FP32, or as it does.

    Raises:
        ReidError: `Store.create` and `Store.open` raise it; or the store stores its numbers in another way; or there is
            none because a migration was killed as it replaced it.
    """
    is_new, was_there = not is_stored(path), path.exists()
    if is_new and is_stored(aside := aside_of(path)):
        raise DataError(f"{aside} is {path}, which a migration was about to replace: migrate again, or move it back")
    store = Store.create(path, space, storage=storage or "fp32") if is_new else Store.open(path, space, write=True)
    with store:
        if storage not in (None, store.storage):
            raise DataError(f"{path} stores {store.storage}, not {storage}: leave out --storage, or make another")
        try:
            yield store
        finally:
            with contextlib.suppress(Exception):  # where it cannot be told any more, what failed first is
                if is_new and not len(store):
                    _unmake(path, keep=was_there)


def _unmake(path: Path, *, keep: bool) -> None:
    """Remove an empty store that this process has locked, and its folder unless that is to be kept."""
    with contextlib.suppress(OSError):  # what somebody else put there stays
        (path / MANIFEST_FILE).unlink()  # first: who takes the lock afterwards is to find no store
        (path / LOCK_FILE).unlink()
        if not keep:
            path.rmdir()
