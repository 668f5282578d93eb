"""`reid-data`: render a synthetic data set, find what is wrong with a data set, or convert one."""

from __future__ import annotations

import logging
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from reid.commands.options import DEFAULT_PIXELS, LARGEST_SEED, AsJson, DataArgument, LayoutOption, MaxPixels
from reid.commands.shell import ProgressBar, application, note_problems, print_json, run
from reid.commands.terminal import print_result, print_tables
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.data.dataset import Dataset
    from reid.data.inspection import Inspection

StyleName: TypeAlias = Literal["plain", "varied"]

app = application()
logger = logging.getLogger(__name__)


@app.callback(epilog="Example: reid-data inspect VeRi")
def describe() -> None:
    """Render a synthetic data set, find what is wrong with a data set, or write one in another layout."""


@app.command(epilog="Example: reid-data synthesize data --vehicles 60 --cameras 6")
def synthesize(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; it must be empty or not exist yet.")],
    vehicles: Annotated[
        int, typer.Option(min=4, max=9999, help="Number of vehicles; about 60 % are for training.")
    ] = 60,
    cameras: Annotated[
        int, typer.Option(min=2, max=999, help="Number of cameras, which differ in angle, light and quality.")
    ] = 6,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Random seed; the same seed gives the same files.")
    ] = 0,
    style: Annotated[
        StyleName, typer.Option(help="plain: low-poly vehicles; varied: curved ones, in weather and at night.")
    ] = "plain",
    as_json: AsJson = False,
) -> None:
    """Render procedural vehicles into a data set in VeRi-776's layout."""
    from reid.data.synthesis.veri import synthesize as render

    with ProgressBar() as progress:
        summary = render(output, vehicles=vehicles, cameras=cameras, seed=seed, style=style, progress=progress)
    if as_json:
        print_json(asdict(summary))
    else:
        print_result(printable(output))


@app.command(epilog="Example: reid-data inspect VeRi")
def inspect(
    data: DataArgument,
    layout: LayoutOption = None,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    as_json: AsJson = False,
) -> None:
    """Count identities, cameras, images and tracklets per split, and list every problem of a data set."""
    from reid.data.inspection import inspect as open_every_image
    from reid.data.layout import read_dataset

    dataset = read_dataset(data, layout)
    with ProgressBar() as progress:
        inspection = open_every_image(dataset, progress)
    if as_json:
        splits = {name: asdict(counts) for name, counts in inspection.splits.items()}
        problems = [asdict(problem) for problem in inspection.problems]
        left_out = [asdict(one) for one in dataset.left_out]
        print_json(
            {
                "layout": inspection.layout,
                "root": str(dataset.root),
                "splits": splits,
                "problems": problems,
                "files": dataset.files,
                "left_out": left_out,
                "notes": list(dataset.notes),
            }
        )
    else:
        _print_tables(dataset, inspection)


def _print_tables(dataset: Dataset, inspection: Inspection) -> None:
    from rich.table import Table

    from reid.runtime.left_out import count_sentence

    counts = Table("split", "identities", "cameras", "images", "tracklets", title=f"layout {inspection.layout}")
    for name, split in inspection.splits.items():
        counts.add_row(name, *(f"{number:,}" for number in asdict(split).values()))
    problems = Table(title=f"{len(inspection.problems)} problems")
    for column in ("problem", "where", "detail"):
        problems.add_column(column, overflow="fold")
    for problem in inspection.problems:
        problems.add_row(*map(printable, astuple(problem)))
    left_out = Table("not used", "files", "reason", title=count_sentence(dataset.left_out, dataset.files))
    for one in dataset.left_out:
        left_out.add_row(printable(one.where), f"{one.files:,}", one.reason)
    # In a file or a pipe, lines are as long as they need to be, so that names can be searched for.
    print_tables(
        *map(printable, dataset.notes),
        counts,
        problems if inspection.problems else "no problems",
        left_out if dataset.left_out else "every file is used",
        width=10_000,
    )


@app.command(epilog="Example: reid-data convert VeRi table --to table")
def convert(
    data: DataArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; it must be empty or not exist yet.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="LAYOUT",
            help="Layout to write: table, veri, vehicleid, veriwild, tracklets, vehicle-folders, camera-vehicle, flat.",
        ),
    ],
    layout: LayoutOption = None,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    as_json: AsJson = False,
) -> None:
    """Write a data set in another layout, with the same images byte for byte.

    What the layout cannot hold is said, found by reading the result again.
    """
    from reid.data.conversion.convert import check_target
    from reid.data.conversion.convert import convert as write
    from reid.data.layout import read_dataset
    from reid.runtime.errors import DataError

    try:
        check_target(to)
    except DataError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None
    dataset = read_dataset(data, layout)
    note_problems(dataset)
    with ProgressBar() as progress:
        conversion = write(dataset, output, to, inputs=[data], progress=progress)
    if conversion.unreadable:
        first = "; ".join(conversion.unreadable[:3])
        logger.warning("%d images could not be read and are left out: %s", len(conversion.unreadable), first)
    for sentence in (*conversion.losses, *conversion.notes):
        logger.warning("%s", sentence)
    if as_json:
        print_json({"output": str(output), **asdict(conversion)})
    else:
        print_result(printable(output))


def main() -> None:
    """Entry point."""
    run(app)
