"""`reid-gallery index`: what finds the nearest entries without looking at all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reid.commands.options import AsJson
from reid.commands.shell import ProgressBar, print_json
from reid.commands.terminal import print_result
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.runtime.galleries.lance.indexing import Recall
    from reid.runtime.galleries.milvus import Index

__all__ = ["index"]


def index(
    gallery: Annotated[
        str,
        typer.Argument(metavar="GALLERY", help="lance://FOLDER, milvus://HOST:PORT/NAME or milvus:///FILE.db/NAME."),
    ],
    store: Annotated[
        Path | None, typer.Option("--of", metavar="STORE", help="Milvus: the store whose entries it is made of, anew.")
    ] = None,
    method: Annotated[
        Literal["flat", "hnsw", "ivf", "diskann"], typer.Option(help="Milvus: flat is exact, the others are faster.")
    ] = "flat",
    as_json: AsJson = False,
) -> None:
    """Index a gallery in LanceDB, or make one in Milvus of a store.

    LanceDB's index is used by lance://FOLDER?probes=20, and what it finds is measured. Milvus searches what was there
    before until the new one is whole.
    """
    from reid.runtime.errors import DataError
    from reid.runtime.galleries.opening import scheme_of

    if (scheme := scheme_of(gallery)) == "lance":
        if store is not None:
            raise typer.BadParameter(f"--of is for Milvus; add the entries of {store} with reid-gallery merge first")
        found = _index_lance(gallery)
        said: dict[str, object] = {
            "recall": found.share,
            "k": found.k,
            "queries": found.queries,
            "probes": found.probes,
        }
        sentence = f"finds {100 * found.share:.1f} % of the {found.k} nearest with ?probes={found.probes}"
    elif scheme in ("milvus", "milvus+tls"):
        if store is None:
            raise typer.BadParameter("an index in Milvus is made of a store: name it with --of STORE")
        entries = _index_milvus(gallery, store, method)
        said = {"entries": entries, "method": method}
        sentence = f"{entries:,} entries of {store}, searched by {method}"
    else:
        raise DataError(f"{gallery} needs no index: its search is exact; an index is for lance://... or milvus://...")
    if as_json:
        print_json({"gallery": gallery, **said})
    else:
        print_result(printable(f"{gallery}: {sentence}"))


def _index_lance(uri: str) -> Recall:
    from reid.runtime.galleries.lance.gallery import LanceGallery

    with LanceGallery.open(uri, write=True) as opened:
        return opened.index()


def _index_milvus(uri: str, store: Path, method: Index) -> int:
    from reid.runtime.galleries.milvus import rebuild_index
    from reid.runtime.galleries.store.store import Store

    with Store.open(store) as opened, ProgressBar() as progress:
        rebuild_index(opened, uri, index=method, progress=progress)
        return len(opened)
