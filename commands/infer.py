"""`reid-infer`: rank a gallery for every query."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reid.commands.options import PrecisionOption
from reid.commands.shell import ProgressBar, application, note, print_json, run

app = application()


@app.command(epilog="Example: reid-infer gallery/ query/")
def infer(
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="Folder of crops, or a saved gallery (.npz).")],
    query: Annotated[Path, typer.Argument(metavar="QUERY", help="Folder of crops.")],
    model: Annotated[Path, typer.Option(help="A bundle, an .onnx file, or a checkpoint.")] = Path("bundle"),
    top_k: Annotated[int, typer.Option(min=1, help="Matches per query.")] = 10,
    session: Annotated[str, typer.Option(help="Backend, such as onnxruntime:cpu or onnxruntime:cuda.")] = "auto",
    precision: PrecisionOption = "fp32",
    output: Annotated[Path, typer.Option(help="Folder for rankings.json, rankings.csv, report.html.")] = Path(
        "results"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Rank the gallery's tracklets for every query.

    In both folders a sub-folder is a tracklet, and a loose image is a tracklet of one frame.
    """
    from reid.pages.results import RANKINGS_FILE, write_results
    from reid.runtime.inference import infer as rank
    from reid.runtime.opening import open_session
    from reid.runtime.storage import atomic_directory

    # The folder comes first: that it cannot be written is better known before the work than after it.
    with open_session(model, session, precision) as opened, atomic_directory(output, replaces=RANKINGS_FILE) as folder:
        with ProgressBar() as progress:
            inference = rank(opened, gallery, query, k=top_k, progress=progress)
        write_results(folder, inference, opened)
        info = opened.info
    unreadable = list(inference.unreadable)
    if unreadable:
        note(f"note: {len(unreadable)} of {inference.frames} frames could not be read: {'; '.join(unreadable[:3])}")
    if as_json:
        summary = {
            "output": str(output),
            "model": info.card.fingerprint,
            "session": str(info),
            "precision": info.precision,
        }
        counts = {"queries": len(inference.rankings), "gallery": len(inference.gallery.tracklets)}
        print_json({**summary, **counts, "frames": inference.frames, "unreadable": unreadable})
    else:
        print(output / "report.html")


def main() -> None:
    """Entry point."""
    run(app)
