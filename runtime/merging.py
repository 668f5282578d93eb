"""From galleries to one gallery, whatever each of them is: what `reid-gallery merge` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from reid.runtime.errors import DataError
from reid.runtime.galleries.comparable import check_space
from reid.runtime.galleries.protocol import Gallery, GrowingGallery
from reid.runtime.galleries.store.store import Store
from reid.runtime.progress import SILENT, Progress

__all__ = ["merge"]


def merge(others: Mapping[str, Gallery], into: GrowingGallery, progress: Progress = SILENT) -> None:
    """Add the entries of other galleries, in their order.

    All or none, from stores into a store; else some thousand at a time, and what was added before a failure stays.

    Args:
        others: the galleries, by the names that errors call them.
        into: the gallery that gets their entries.
        progress: follows the entries, after a stage in which ids are compared where not all are stores.

    Raises:
        DataError: there is an entry of the same id, before anything is added; or see `GrowingGallery.add`.
        ModelError: a gallery is of another space.
    """
    galleries = list(others.values())
    if isinstance(into, Store) and all(isinstance(gallery, Store) for gallery in galleries):
        into.merge(cast("list[Store]", galleries), progress)
        return
    for name, gallery in others.items():
        check_space(name, gallery.space, into.space)
    total = sum(map(len, galleries))
    _check_ids(others, into, total, progress)
    progress.begin("merging", total, "entries")
    for gallery in galleries:
        for entries, embeddings in gallery.batches():
            into.add(entries, embeddings)
            progress.advance(len(entries))


def _check_ids(others: Mapping[str, Gallery], into: GrowingGallery, total: int, progress: Progress) -> None:
    progress.begin("comparing ids", total, "entries")
    seen: set[str] = set()
    for name, gallery in others.items():
        for entries in gallery.entries():
            ids = [entry.id for entry in entries]
            known = into.contains(ids)
            for identity, is_known in zip(ids, known.tolist(), strict=True):
                if is_known or identity in seen:
                    raise DataError(
                        f"there is an entry {identity!r} of {name} already: remove it first, or give each its own id"
                    )
                seen.add(identity)
            progress.advance(len(entries))
