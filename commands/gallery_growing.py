"""`reid-gallery append` and `merge`: what lets a gallery grow."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reid.commands.gallery_sources import NewStoreArgument, reading
from reid.commands.notes import note_files, note_frames
from reid.commands.options import (
    DEFAULT_PIXELS,
    AsJson,
    MaxPixels,
    ModelOption,
    PrecisionOption,
    SessionOption,
    ShardOption,
    SightingsOption,
)
from reid.commands.shell import ProgressBar, print_json
from reid.commands.terminal import print_result
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.runtime.appending import Appended
    from reid.runtime.galleries.protocol import Gallery, GrowingGallery

__all__ = ["append", "merge"]

logger = logging.getLogger(__name__)


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
    gate: Annotated[
        bool, typer.Option("--gate", help="Keep out frames that are too small or blurred, and tracklets of only such.")
    ] = False,
    shard: ShardOption = None,
    sightings: SightingsOption = None,
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
    from reid.runtime.shards import Shard
    from reid.runtime.sightings import read_sightings

    seen = read_sightings(sightings) if sightings else None
    part = Shard.parse(shard) if shard else None
    with open_session(model, session, precision) as opened, ProgressBar() as progress:
        found = add(
            opened,
            store,
            crops,
            storage=storage,
            skip_known=skip_known,
            sightings=seen,
            shard=part,
            gate=gate,
            progress=progress,
        )
    _note(crops, found)
    if as_json:
        print_json({"store": store, **asdict(found)})
    else:
        known = f", {found.known:,} were there already" if found.known else ""
        print_result(printable(f"{store}: {found.added:,} added{known}; {found.entries:,} entries"))


def _note(crops: Path, found: Appended) -> None:
    note_frames(found.unreadable, found.frames)
    note_frames(found.refused, found.frames, "did not pass the gate")
    if found.unseen:
        logger.warning("%d tracklets have no time in the sightings", found.unseen)
    note_files(crops, found.left_out)


def merge(
    store: NewStoreArgument,
    others: Annotated[
        list[str], typer.Argument(metavar="OTHER", help="Galleries to take entries from; they stay as they are.")
    ],
    as_json: AsJson = False,
) -> None:
    """Add the entries of other galleries: all or none, where all are folders."""
    from reid.runtime.errors import DataError
    from reid.runtime.merging import merge as add

    _check_apart(store, others)
    with ExitStack() as stack:
        opened = {other: stack.enter_context(reading(other)) for other in others}
        merged = stack.enter_context(_for_merging(store, next(iter(opened.values()))))
        if not len(merged) and not any(map(len, opened.values())):
            raise DataError(f"there is nothing to merge in {', '.join(others)}; append crops there first")
        progress = stack.enter_context(ProgressBar())
        before = len(merged)
        add(opened, merged, progress)
        entries = len(merged)
    if as_json:
        print_json({"store": store, "added": entries - before, "entries": entries})
    else:
        print_result(printable(f"{store}: {entries - before:,} added; {entries:,} entries"))


def _check_apart(store: str, others: list[str]) -> None:
    from reid.runtime.files.storage import check_apart
    from reid.runtime.galleries.opening import local_path

    if (place := local_path(store)) is not None:
        check_apart(place, filter(None, map(local_path, others)))


@contextmanager
def _for_merging(store: str, first: Gallery) -> Iterator[GrowingGallery]:
    """Open what is merged into; a new folder stores numbers as the first of the others does."""
    from reid.runtime.galleries.opening import is_gallery, is_uri, writable_gallery
    from reid.runtime.galleries.store.store import Store

    is_new = not is_uri(store) and not is_gallery(store)
    storage = first.storage if is_new and isinstance(first, Store) else None
    with writable_gallery(store, first.space, storage) as growing:
        yield growing
