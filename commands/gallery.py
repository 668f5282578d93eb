"""`reid-gallery`: make, ask about and change a gallery that stays on disk and grows."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reid.commands.options import DEFAULT_PIXELS, AsJson, MaxPixels, ModelOption, PrecisionOption, SessionOption
from reid.commands.shell import ProgressBar, application, print_json, run
from reid.commands.terminal import print_result, print_tables
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.runtime.appending import Appended
    from reid.runtime.galleries.store.store import Store
    from reid.runtime.galleries.summary import Summary

app = application()
logger = logging.getLogger(__name__)

StoreArgument = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the gallery.")]
NewStoreArgument = Annotated[
    Path, typer.Argument(metavar="STORE", help="Folder of the gallery; made where there is none.")
]

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

    with Store.open(store) as opened:
        summary = summarize(opened)
        if as_json:
            print_json({"store": str(store), **asdict(opened.space), "storage": opened.storage, **asdict(summary)})
        else:
            _print_summary(opened, summary)


def _print_summary(store: Store, summary: Summary) -> None:
    from rich.table import Table

    space, seen = store.space, summary.seen_s
    untimed = f", {summary.without_time:,} without a time" if seen and summary.without_time else ""
    facts = {
        "model": space.fingerprint[:12],
        "embeddings": f"{space.dimensions:,} numbers, computed in {space.precision}, stored in {store.storage}",
        "entries": f"{summary.entries:,}",
        "seen": f"{seen[0]:,.3f} s to {seen[1]:,.3f} s{untimed}" if seen else "no times",
        "size": f"{summary.size:,} bytes, entries in {summary.segments:,} files",
    }
    table = Table("camera", "entries")
    for name, entries in summary.cameras.items():
        table.add_row(printable(name), f"{entries:,}")
    if summary.without_camera:
        table.add_row("(not known)", f"{summary.without_camera:,}")
    lines = [f"{name}: {printable(value)}" for name, value in facts.items()]
    print_tables(*lines, *([table] if summary.entries else []), width=10_000)


@app.command(epilog="Example: reid-gallery append store crops --model bundle")
def append(
    store: NewStoreArgument,
    crops: Annotated[Path, typer.Argument(metavar="CROPS", help="Folder or archive of crops.")],
    skip_known: Annotated[
        bool, typer.Option("--skip-known", help="Leave out tracklets that are there already, by their names.")
    ] = False,
    storage: Annotated[
        Literal["fp32", "fp16"] | None,
        typer.Option(help="How a new gallery stores numbers; fp16 takes half the space. [default: fp32]"),
    ] = None,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    model: ModelOption = Path("bundle"),
    session: SessionOption = "auto",
    precision: PrecisionOption = "fp32",
    as_json: AsJson = False,
) -> None:
    """Embed crops and add them, some hundred tracklets at a time.

    In the folder, a subfolder is a tracklet and a loose image is a tracklet of one frame. Where an append was killed,
    --skip-known goes on.
    """
    from reid.runtime.appending import append as add
    from reid.runtime.opening import open_session

    with open_session(model, session, precision) as opened, ProgressBar() as progress:
        found = add(opened, store, crops, storage=storage, skip_known=skip_known, progress=progress)
    _note(crops, found)
    if as_json:
        print_json({"store": str(store), **asdict(found)})
    else:
        known = f", {found.known:,} were there already" if found.known else ""
        print_result(printable(f"{store}: {found.added:,} added{known}; {found.entries:,} entries"))


def _note(crops: Path, found: Appended) -> None:
    from reid.runtime.left_out import names_sentence

    if found.unreadable:
        reasons = "; ".join(found.unreadable[:3])
        logger.warning("%d of %d frames could not be read: %s", len(found.unreadable), found.frames, reasons)
    if any(one.files for one in found.left_out):
        logger.warning("%s: %s", crops, names_sentence(found.left_out))


@app.command(epilog="Example: reid-gallery remove store 0002_c001_1.jpg")
def remove(
    store: StoreArgument,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of entries to remove.")] = None,
    listed: Annotated[Path | None, typer.Option("--ids", metavar="FILE", help="File with an id a line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remove entries; ids that are not there are counted."""
    from reid.runtime.galleries.store.store import Store

    if bool(ids) == (listed is not None):
        raise typer.BadParameter("give ids, or a file with --ids")
    wanted = list(dict.fromkeys(ids or (_ids_in(listed) if listed else [])))
    with Store.open(store, write=True) as opened:
        removed, entries = opened.remove(wanted), len(opened)
    absent = len(wanted) - removed
    if as_json:
        print_json({"store": str(store), "removed": removed, "absent": absent, "entries": entries})
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


@app.command(epilog="Example: reid-gallery merge all north south")
def merge(
    store: NewStoreArgument,
    others: Annotated[
        list[Path], typer.Argument(metavar="OTHER", help="Galleries to take entries from; they stay as they are.")
    ],
    as_json: AsJson = False,
) -> None:
    """Add the entries of other galleries, all or none."""
    from contextlib import ExitStack

    from reid.runtime.errors import DataError
    from reid.runtime.files.storage import check_apart
    from reid.runtime.galleries.store.store import Store
    from reid.runtime.galleries.store_folder import is_stored, writable_store

    check_apart(store, others)
    with ExitStack() as stack:
        opened = [stack.enter_context(Store.open(other)) for other in others]
        is_new = not is_stored(store)
        if is_new and not any(map(len, opened)):
            raise DataError(f"there is nothing to merge in {', '.join(map(str, others))}; append crops there first")
        storage = opened[0].storage if is_new else None
        merged = stack.enter_context(writable_store(store, opened[0].space, storage))
        before = len(merged)
        merged.merge(opened)
        entries = len(merged)
    if as_json:
        print_json({"store": str(store), "added": entries - before, "entries": entries})
    else:
        print_result(printable(f"{store}: {entries - before:,} added; {entries:,} entries"))


@app.command(epilog="Example: reid-gallery compact store")
def compact(store: StoreArgument, as_json: AsJson = False) -> None:
    """Write all entries into one file, without what was removed. Needs room for a second copy meanwhile."""
    from reid.runtime.galleries.store.store import Store
    from reid.runtime.galleries.summary import size_of_store

    with Store.open(store, write=True) as opened:
        before = size_of_store(opened)
        opened.compact()
        after, entries = size_of_store(opened), len(opened)
    if as_json:
        print_json({"store": str(store), "size_before": before, "size": after, "entries": entries})
    else:
        print_result(printable(f"{store}: {before:,} bytes before, {after:,} now; {entries:,} entries"))


@app.command(epilog="Example: reid-gallery verify store")
def verify(store: StoreArgument, as_json: AsJson = False) -> None:
    """Read everything and name what is damaged.

    Exit code 1 says that something is.
    """
    from reid.runtime.errors import DataError
    from reid.runtime.galleries.store.store import Store

    with Store.open(store) as opened:
        problems, entries = opened.verify(), len(opened)
    if as_json:
        print_json({"store": str(store), "entries": entries, "problems": problems})
    for problem in problems[1:]:
        logger.warning("%s", problem)
    if problems:
        raise DataError(problems[0])
    if not as_json:
        print_result(printable(f"{store}: all {entries:,} entries are as they were written"))


def main() -> None:
    """Entry point."""
    run(app)
