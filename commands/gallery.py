"""`reid-gallery`: make, ask about and change a gallery that stays on disk and grows."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.commands.gallery_growing import append, merge
from reid.commands.gallery_index import index
from reid.commands.gallery_migration import migrate
from reid.commands.gallery_sources import StoreArgument, reading, writing
from reid.commands.gallery_travel import learn_travel
from reid.commands.options import AsJson
from reid.commands.shell import ProgressBar, application, print_json, run
from reid.commands.terminal import print_result, print_tables
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.runtime.galleries.protocol import Gallery
    from reid.runtime.galleries.summary import Summary

app = application()
logger = logging.getLogger(__name__)

_IDS_AT_MOST = 1 << 30


@app.callback(epilog="Example: reid-gallery append store crops")
def describe() -> None:
    """Make a gallery that stays on disk and grows, say what it holds, change it, and check it.

    Its folder is a GALLERY of reid-infer.
    """


@app.command(epilog="Example: reid-gallery info store")
def info(store: StoreArgument, as_json: AsJson = False) -> None:
    """Say what a gallery holds: its model, cameras, times and size."""
    from reid.runtime.galleries.store.store import Store
    from reid.runtime.galleries.summary import summarize

    with reading(store) as opened:
        summary = summarize(opened)
        storage = opened.storage if isinstance(opened, Store) else None
        if as_json:
            print_json({"store": store, **asdict(opened.space), "storage": storage, **asdict(summary)})
        else:
            _print_summary(opened, storage, summary)


def _print_summary(gallery: Gallery, storage: str | None, summary: Summary) -> None:
    from rich.table import Table

    space, seen = gallery.space, summary.seen_s
    untimed = f", {summary.without_time:,} without a time" if seen and summary.without_time else ""
    facts = {
        "model": space.fingerprint[:12],
        "embeddings": f"{space.dimensions:,} numbers, computed in {space.precision}"
        + (f", stored in {storage}" if storage else ""),
        "entries": f"{summary.entries:,}",
        "seen": f"{seen[0]:,.3f} s to {seen[1]:,.3f} s{untimed}" if seen else "no times",
    }
    if summary.size is not None:
        facts["size"] = f"{summary.size:,} bytes, entries in {summary.segments:,} file{'s'[: summary.segments != 1]}"
    table = Table("camera", "entries")
    for name, entries in summary.cameras.items():
        table.add_row(printable(name), f"{entries:,}")
    if summary.without_camera:
        table.add_row("(not known)", f"{summary.without_camera:,}")
    lines = [f"{name}: {printable(value)}" for name, value in facts.items()]
    print_tables(*lines, *([table] if summary.entries else []), width=10_000)


app.command(epilog="Example: reid-gallery append store crops --model bundle")(append)


@app.command(epilog="Example: reid-gallery remove store 0002_c001_1.jpg")
def remove(
    store: StoreArgument,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of entries to remove.")] = None,
    listed: Annotated[Path | None, typer.Option("--ids", metavar="FILE", help="File with an id a line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remove entries; ids that are not there are counted."""
    if bool(ids) == (listed is not None):
        raise typer.BadParameter("give ids, or a file with --ids")
    wanted = list(dict.fromkeys(ids or (_ids_in(listed) if listed else [])))
    with writing(store) as opened:
        removed, entries = opened.remove(wanted), len(opened)
    absent = len(wanted) - removed
    if as_json:
        print_json({"store": store, "removed": removed, "absent": absent, "entries": entries})
    else:
        missing = f", {absent:,} were not there" if absent else ""
        print_result(printable(f"{store}: {removed:,} removed{missing}; {entries:,} entries"))


def _ids_in(file: Path) -> list[str]:
    from reid.runtime.errors import DataError
    from reid.runtime.files.reading import read_file

    text = read_file(file, at_most=_IDS_AT_MOST).decode("utf-8", "surrogateescape")  # as names of files may be
    ids = [line.removesuffix("\r") for line in text.split("\n") if line.strip()]
    if not ids:
        raise DataError(f"{file} lists no ids; write one a line")
    return ids


app.command(epilog="Example: reid-gallery merge all north south")(merge)


@app.command(epilog="Example: reid-gallery compact store")
def compact(store: StoreArgument, as_json: AsJson = False) -> None:
    """Write all entries into one file, without what was removed. Needs room for a second copy meanwhile."""
    from reid.runtime.errors import DataError
    from reid.runtime.galleries.lance.gallery import LanceGallery
    from reid.runtime.galleries.store.store import Store
    from reid.runtime.galleries.summary import size_of_store

    with writing(store) as opened, ProgressBar() as progress:
        sizes = {}
        if isinstance(opened, Store):
            sizes["size_before"] = size_of_store(opened)
            opened.compact(progress)
            sizes["size"] = size_of_store(opened)
        elif isinstance(opened, LanceGallery):
            opened.compact()
        else:
            raise DataError(f"{store} is a server's, which compacts by itself; give a folder or lance://FOLDER")
        entries = len(opened)
    if as_json:
        print_json({"store": store, **sizes, "entries": entries})
    else:
        bytes_ = f"{sizes['size_before']:,} bytes before, {sizes['size']:,} now" if sizes else "compacted"
        print_result(printable(f"{store}: {bytes_}; {entries:,} entries"))


@app.command(epilog="Example: reid-gallery verify store")
def verify(store: StoreArgument, as_json: AsJson = False) -> None:
    """Read everything and name what is damaged.

    Exit code 1 says that something is.
    """
    from reid.runtime.errors import DataError
    from reid.runtime.galleries.opening import is_uri
    from reid.runtime.galleries.store.store import Store

    if is_uri(store):
        raise DataError(f"{store} has no checksums of ours to verify; give the folder of a gallery")
    with Store.open(store) as opened, ProgressBar() as progress:
        problems, entries = opened.verify(progress), len(opened)
    if as_json:
        print_json({"store": store, "entries": entries, "problems": problems})
    for problem in problems[1:]:
        logger.warning("%s", problem)
    if problems:
        raise DataError(problems[0])
    if not as_json:
        print_result(printable(f"{store}: all {entries:,} entries are as they were written"))


app.command(epilog="Example: reid-gallery index milvus://milvus.example:19530/cars --of store")(index)
app.command(epilog="Example: reid-gallery migrate store --model new-bundle")(migrate)
app.command(epilog="Example: reid-gallery learn-travel VeRi")(learn_travel)


def main() -> None:
    """Entry point."""
    run(app)
