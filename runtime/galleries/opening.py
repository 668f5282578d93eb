"""Galleries by where they are: a saved file, the folder of a store, or a table of LanceDB or Milvus."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reid.runtime.errors import DataError
from reid.runtime.files.archives import is_archive
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.protocol import Gallery, GrowingGallery
from reid.runtime.galleries.store.manifest import Storage
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.store_folder import is_stored, writable_store
from reid.runtime.space import Space

if TYPE_CHECKING:
    from reid.runtime.galleries.lance.gallery import LanceGallery
    from reid.runtime.galleries.milvus.gallery import MilvusGallery

__all__ = ["is_gallery", "is_uri", "local_path", "open_gallery", "scheme_of", "writable_gallery"]

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_NEARLY_URI = re.compile(r"(lance|milvus|milvus\+tls):")
"""As a path becomes that was a URI, and as people mistype one."""


def open_gallery(source: str | os.PathLike[str], space: Space | None = None) -> Gallery:
    """Open a gallery to search it.

    Args:
        source: the file of a saved gallery (.npz), the folder of `reid-gallery`, `lance://FOLDER`, or
            `milvus://HOST:PORT/COLLECTION`, with `milvus:///FILE.db/COLLECTION` for an embedded one.
        space: the space of what it will be searched with; None to take it as it is.

    Raises:
        DataError: there is none, it is damaged, or of a kind that is not known.
        ModelError: another model embedded it, or the same model in another precision.
        ReidError: a package is missing, or a server does not answer.
    """
    if engine := _engine(source):
        return engine.open(os.fspath(source), space)
    path = Path(source)
    return Store.open(path, space) if is_stored(path) else MemoryGallery.open(path, space)


@contextlib.contextmanager
def writable_gallery(
    source: str | os.PathLike[str], space: Space, storage: Storage | None = None
) -> Iterator[GrowingGallery]:
    """Yield a gallery that entries are added to; it is made where there is none, and goes again if it gets no entries.

    Args:
        source: as in `open_gallery`, but for a saved file.
        space: the space of what it gets.
        storage: how a new store stores numbers, and an old one has to; None for FP32, or as it does.

    Raises:
        ReidError: as in `open_gallery`; or the gallery cannot be made, or stores its numbers in another way.
    """
    engine = _engine(source)
    if engine is None:
        if (path := Path(source)).is_file():
            raise DataError(
                f"{path} exists and is not a folder; `reid-gallery merge STORE FILE` takes a saved gallery into one"
            )
        with writable_store(path, space, storage) as store:
            yield store
        return
    uri = os.fspath(source)
    if storage is not None:
        raise DataError(f"{uri} stores numbers in its own way: leave out --storage")
    is_new = not engine.exists(uri)
    gallery = engine.create(uri, space) if is_new else engine.open(uri, space, write=True)
    with contextlib.closing(gallery):
        try:
            yield gallery
        finally:
            with contextlib.suppress(Exception):  # where it cannot be told any more, what failed first is
                if is_new and not len(gallery):
                    gallery.drop()


def is_gallery(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is a gallery, or something that only `open_gallery` can say more about; no crops."""
    if is_uri(source):
        return True
    path = Path(source)
    return is_stored(path) or (path.is_file() and not is_archive(path))


def is_uri(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is a URI, and no path."""
    return bool(scheme_of(source))


def local_path(source: str | os.PathLike[str]) -> Path | None:
    """Return the file or folder that a source is on this machine; None for that of a server. Raises DataError."""
    match scheme_of(source):
        case "":
            return Path(source)
        case "lance":
            from reid.runtime.galleries.lance.table import path_of

            return path_of(source)[0]
        case "milvus":
            from reid.runtime.galleries.milvus.address import Address

            return Address.parse(os.fspath(source)).file
    return None


def scheme_of(source: str | os.PathLike[str]) -> str:
    """Return what comes before :// in a URI; "" for a path. Raises DataError for what is nearly a URI."""
    found = _URI.match(os.fspath(source))
    if not found and (nearly := _NEARLY_URI.match(os.fspath(source))):
        raise DataError(f"{os.fspath(source)} is no address of a gallery: write {nearly[1]}://, with two slashes")
    return found[1] if found else ""


def _engine(source: str | os.PathLike[str]) -> type[LanceGallery | MilvusGallery] | None:
    """Return what opens a URI; None for a path. Raises DataError where nothing does."""
    match scheme_of(source):
        case "":
            return None
        case "lance":
            from reid.runtime.galleries.lance.gallery import LanceGallery

            return LanceGallery
        case "milvus" | "milvus+tls":
            from reid.runtime.galleries.milvus.gallery import MilvusGallery

            return MilvusGallery
    raise DataError(f"{os.fspath(source)}: no such kind of gallery; give a folder, a file, lance://... or milvus://...")
