"""The folder of a store: whether a path is one, and one to write to, made where there is none."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from reid.runtime.errors import DataError
from reid.runtime.galleries.store.manifest import MANIFEST_FILE, Storage
from reid.runtime.galleries.store.store import Store
from reid.runtime.space import Space

__all__ = ["is_stored", "writable_store"]


def is_stored(path: Path) -> bool:
    """Return whether a path is the folder of a store, by its manifest: also of one that `Store.open` has to refuse."""
    return os.path.isfile(path / MANIFEST_FILE)


@contextlib.contextmanager
def writable_store(path: Path, space: Space, storage: Storage | None = None) -> Iterator[Store]:
    """Yield a store, open for writing; it is made where there is none, and goes again if it gets no entries.

    Args:
        path: its folder.
        space: the space of what it gets.
        storage: how a new one stores numbers, and an old one has to; None for FP32, or as it does.

    Raises:
        ReidError: `Store.create` and `Store.open` raise it; or the store stores its numbers in another way.
    """
    is_new = not is_stored(path)
    store = Store.create(path, space, storage=storage or "fp32") if is_new else Store.open(path, space, write=True)
    with store:
        if storage not in (None, store.storage):
            raise DataError(f"{path} stores {store.storage}, not {storage}: leave out --storage, or make another")
        try:
            yield store
        finally:
            if is_new and not len(store):
                shutil.rmtree(path, ignore_errors=True)
