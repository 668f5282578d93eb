"""`reid-infer`: rank a gallery for every query."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from reid.commands.options import MODEL, OUTPUT, AsJson, PrecisionOption, SessionOption
from reid.commands.shell import ProgressBar, application, print_json, run

app = application()
logger = logging.getLogger(__name__)


@app.command(epilog="Example: reid-infer gallery/ query/")
def infer(
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="Folder of crops, or a saved gallery (.npz).")],
    query: Annotated[Path, typer.Argument(metavar="QUERY", help="Folder of crops.")],
    top_k: Annotated[int, typer.Option(min=1, help="Number of matches per query.")] = 10,
    model: Annotated[
        Path, typer.Option(help="A bundle, an .onnx file, a checkpoint or a run.", rich_help_panel=MODEL)
    ] = Path("bundle"),
    session: SessionOption = "auto",
    precision: PrecisionOption = "fp32",
    output: Annotated[
        Path, typer.Option(help="Folder for rankings.json, rankings.csv and report.html.", rich_help_panel=OUTPUT)
    ] = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Rank the gallery's tracklets for every query.

    In both folders, a subfolder is a tracklet and a loose image is a tracklet of one frame.
    """
    from reid.pages.results import RANKINGS_FILE, write_results
    from reid.runtime.inference import infer as rank
    from reid.runtime.opening import open_session
    from reid.runtime.storage import atomic_directory

    # Opening the folder first finds out before the work whether it can be written.
    with open_session(model, session, precision) as opened, atomic_directory(output, replaces=RANKINGS_FILE) as folder:
        with ProgressBar() as progress:
            inference = rank(opened, gallery, query, k=top_k, progress=progress)
        write_results(folder, inference, opened)
        info = opened.info
    unreadable = list(inference.unreadable)
    if unreadable:
        reasons = "; ".join(unreadable[:3])
        logger.warning("%d of %d frames could not be read: %s", len(unreadable), inference.frames, reasons)
    if as_json:
        print_json(
            {
                "output": str(output),
                "model": info.card.fingerprint,
                "session": str(info),
                "precision": info.precision,
                "queries": len(inference.rankings),
                "gallery": len(inference.gallery.tracklets),
                "frames": inference.frames,
                "unreadable": unreadable,
            }
        )
    else:
        print(output / "report.html")


def main() -> None:
    """Entry point."""
    run(app)
