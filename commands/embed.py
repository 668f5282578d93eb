"""`reid-embed`: embed crops on the machines of a Ray cluster, and add them to a gallery."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from reid.commands.notes import note_files, note_frames
from reid.commands.options import (
    DEFAULT_PIXELS,
    AsJson,
    MaxPixels,
    ModelOption,
    PrecisionOption,
    SessionOption,
    finite,
)
from reid.commands.shell import ProgressBar, application, print_json, run
from reid.commands.terminal import print_result
from reid.runtime.text import printable

app = application()

CLUSTER = "Cluster"


@app.command(epilog="Example: reid-embed crops store --ray auto --gpus-per-worker 1")
def embed(
    crops: Annotated[Path, typer.Argument(metavar="CROPS", help="Folder or archive of crops.")],
    store: Annotated[str, typer.Argument(metavar="STORE", help="Folder of the gallery; made where there is none.")],
    ray: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="HOST:PORT of Ray's head, auto for the cluster that this machine is part of, local for this machine.",
            rich_help_panel=CLUSTER,
        ),
    ],
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Number of workers. [default: as many as fit]", rich_help_panel=CLUSTER),
    ] = None,
    cpus: Annotated[
        int,
        typer.Option(
            "--cpus-per-worker", min=1, max=1024, help="CPUs, and threads, of a worker.", rich_help_panel=CLUSTER
        ),
    ] = 1,
    gpus: Annotated[
        float,
        typer.Option(
            "--gpus-per-worker",
            min=0,
            max=64,
            callback=finite,
            help="GPUs of a worker; 0.5 lets two share one.",
            rich_help_panel=CLUSTER,
        ),
    ] = 0.0,
    parts: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder that all machines share, for what is embedded until it is added. [default: STORE.parts]",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
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
    """Embed crops on many machines and add them to a gallery, as reid-gallery append does on one.

    CROPS and the model are at the same paths on all machines, and STORE.parts on a file system that they share.
    Tracklets that are in the gallery are left out, so the same command goes on after a kill.
    """
    from reid.runtime.embedding_jobs.driver import Request, embed_on_cluster
    from reid.runtime.embedding_jobs.on_ray import Cluster
    from reid.runtime.errors import DataError
    from reid.runtime.files.storage import companion
    from reid.runtime.galleries.opening import is_uri

    if is_uri(store):
        raise DataError(f"reid-embed fills a folder: give one, and then `reid-gallery merge {store} FOLDER`")
    folder = Path(store)
    request = Request(crops, folder, parts or companion(folder, "parts"), model, session, precision, storage)
    with ProgressBar() as progress:
        found = embed_on_cluster(request, Cluster(ray, workers, cpus, gpus), progress)
    note_frames(found.unreadable, found.frames)
    note_files(crops, found.left_out)
    if as_json:
        print_json({"store": store, **asdict(found)})
    else:
        known = f", {found.known:,} were there already" if found.known else ""
        print_result(printable(f"{store}: {found.added:,} added{known}; {found.entries:,} entries"))


def main() -> None:
    """Entry point."""
    run(app)
