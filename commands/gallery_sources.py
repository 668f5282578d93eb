"""What `reid-gallery` takes as a gallery, and how it is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reid.runtime.galleries.protocol import Gallery, GrowingGallery

__all__ = ["NewStoreArgument", "StoreArgument", "reading", "writing"]

StoreArgument = Annotated[
    str,
    typer.Argument(metavar="STORE", help="Folder of the gallery; or lance://FOLDER, milvus://HOST:PORT/COLLECTION."),
]
NewStoreArgument = Annotated[
    str,
    typer.Argument(
        metavar="STORE",
        help="Folder of the gallery, made where there is none; or lance://FOLDER, milvus://HOST:PORT/COLLECTION.",
    ),
]


@contextmanager
def reading(source: str) -> Iterator[Gallery]:
    """Open a gallery; what is none by its looks should be the folder of one."""
    from reid.runtime.galleries.opening import is_gallery, open_gallery
    from reid.runtime.galleries.store.store import Store

    with closing(open_gallery(source) if is_gallery(source) else Store.open(source)) as gallery:
        yield gallery


@contextmanager
def writing(source: str) -> Iterator[GrowingGallery]:
    """Open a gallery that is there to change it."""
    from reid.runtime.galleries.opening import writable_gallery

    with reading(source) as gallery:
        space = gallery.space
    with writable_gallery(source, space) as growing:
        yield growing
