"""`reid-gallery migrate`: another model for a gallery."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.commands.options import DEFAULT_PIXELS, MODEL, AsJson, MaxPixels, PrecisionOption, SessionOption
from reid.commands.shell import ProgressBar, print_json
from reid.commands.terminal import print_result
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.runtime.migrating import Migrated

logger = logging.getLogger(__name__)


def migrate(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the gallery.")],
    model: Annotated[
        Path,
        typer.Option("--model", help="The new model: a bundle, an .onnx file, or a run.", rich_help_panel=MODEL),
    ],
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out entries without a picture that can be read.")
    ] = False,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    session: SessionOption = "auto",
    precision: PrecisionOption = "fp32",
    as_json: AsJson = False,
) -> None:
    """Embed a gallery again for another model, from the pictures that were appended.

    The gallery can be searched meanwhile, and is replaced in one step. As it was, it stays as STORE.before. Where a
    migration was killed, the same command goes on.
    """
    from reid.runtime.migrating import migrate as embed_again
    from reid.runtime.opening import open_session

    with open_session(model, session, precision) as opened, ProgressBar() as progress:
        found = embed_again(opened, store, skip_missing=skip_missing, progress=progress)
    _note(found)
    if as_json:
        print_json({"store": str(store), **asdict(found), "before": found.before and str(found.before)})
    elif found.before is None:
        print_result(printable(f"{store}: all {found.entries:,} entries are of this model already"))
    else:
        known = f", {found.known:,} were there already" if found.known else ""
        print_result(printable(f"{store}: {found.embedded:,} embedded{known}; {found.entries:,} entries"))
        print_result(printable(f"{found.before} is the gallery as it was: remove it when it is not needed any more"))


def _note(found: Migrated) -> None:
    if found.missing:
        logger.warning("%d entries were left out: %s", len(found.missing), "; ".join(found.missing[:3]))
    if found.unreadable:
        logger.warning("%d frames could not be read: %s", len(found.unreadable), "; ".join(found.unreadable[:3]))
    if found.by_one_picture:
        logger.warning(
            "%d tracklets were embedded by one picture: their other frames are not beside it", found.by_one_picture
        )
