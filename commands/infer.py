"""`reid-infer`: rank a gallery for every query."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reid.commands.options import (
    DEFAULT_PIXELS,
    OUTPUT,
    AsJson,
    ExpandQueries,
    FalseMatchRate,
    MaxPixels,
    ModelOption,
    PrecisionOption,
    Rerank,
    SessionOption,
)
from reid.commands.shell import ProgressBar, application, print_json, run
from reid.commands.terminal import print_result
from reid.runtime.text import printable

app = application()
logger = logging.getLogger(__name__)


@app.command(epilog="Example: reid-infer gallery/ query/")
def infer(
    gallery: Annotated[
        Path,
        typer.Argument(
            metavar="GALLERY", help="Folder or archive of crops, a saved gallery (.npz), or the folder of reid-gallery."
        ),
    ],
    query: Annotated[Path, typer.Argument(metavar="QUERY", help="Folder or archive of crops.")],
    top_k: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of matches per query.")] = 10,
    expand_queries: ExpandQueries = 0,
    rerank: Rerank = False,
    false_match_rate: FalseMatchRate = None,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    model: ModelOption = Path("bundle"),
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
    from reid.pages.results import write_results
    from reid.runtime.files.manifest import replaceable_directory
    from reid.runtime.inference import infer as rank
    from reid.runtime.left_out import names_sentence
    from reid.runtime.opening import open_session

    if false_match_rate is not None and (expand_queries or rerank):
        raise typer.BadParameter(
            "--false-match-rate decides by thresholds for plain scores: leave it out, or --expand-queries and --rerank"
        )
    # Opening the folder first finds out before the work whether it can be written.
    with (
        replaceable_directory(output, inputs=(gallery, query, model)) as results,
        open_session(model, session, precision) as opened,
    ):
        with ProgressBar() as progress:
            inference = rank(
                opened,
                gallery,
                query,
                k=top_k,
                expand_queries=expand_queries,
                rerank=rerank,
                false_match_rate=false_match_rate,
                progress=progress,
            )
        write_results(results, inference, opened)
        info = opened.info
    unreadable, point = list(inference.unreadable), inference.operating_point
    if unreadable:
        reasons = "; ".join(unreadable[:3])
        logger.warning("%d of %d frames could not be read: %s", len(unreadable), inference.frames, reasons)
    for folder, left_out in inference.left_out.items():
        if any(one.files for one in left_out):
            logger.warning("%s: %s", folder, names_sentence(left_out))
    if as_json:
        print_json(
            {
                "output": str(output),
                "model": info.card.fingerprint,
                "session": str(info),
                "precision": info.precision,
                "post_processing": inference.post_processing.name,
                "operating_point": None if point is None else point.model_dump(mode="json"),
                "queries": len(inference.rankings),
                "gallery": len(inference.gallery),
                "frames": inference.frames,
                "unreadable": unreadable,
                "left_out": {
                    str(folder): [asdict(one) for one in left_out] for folder, left_out in inference.left_out.items()
                },
            }
        )
    else:
        print_result(printable(output / "report.html"))


def main() -> None:
    """Entry point."""
    run(app)
