"""`reid-data`: render a synthetic data set, or find what is wrong with a data set."""

from __future__ import annotations

from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.commands.options import DEFAULT_PIXELS, LARGEST_SEED, AsJson, DataArgument, LayoutOption, MaxPixels
from reid.commands.shell import ProgressBar, application, print_json, run
from reid.commands.terminal import print_result, print_tables
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.data.inspection import Inspection

app = application()


@app.callback(epilog="Example: reid-data inspect VeRi")
def describe() -> None:
    """Render a synthetic data set, or find what is wrong with a data set."""


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
    as_json: AsJson = False,
) -> None:
    """Render procedural vehicles into a data set in VeRi-776's layout."""
    from reid.data.synthesis.veri import synthesize as render

    with ProgressBar() as progress:
        summary = render(output, vehicles=vehicles, cameras=cameras, seed=seed, progress=progress)
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
        print_json({"layout": inspection.layout, "splits": splits, "problems": problems})
    else:
        _print_tables(inspection)


def _print_tables(inspection: Inspection) -> None:
    from rich.table import Table

    counts = Table("split", "identities", "cameras", "images", "tracklets", title=f"layout {inspection.layout}")
    for name, split in inspection.splits.items():
        counts.add_row(name, *(f"{number:,}" for number in asdict(split).values()))
    problems = Table(title=f"{len(inspection.problems)} problems")
    for column in ("problem", "where", "detail"):
        problems.add_column(column, overflow="fold")
    for problem in inspection.problems:
        problems.add_row(*map(printable, astuple(problem)))
    # In a file or a pipe, lines are as long as they need to be, so that names can be searched for.
    print_tables(counts, problems if inspection.problems else "no problems", width=10_000)


def main() -> None:
    """Entry point."""
    run(app)
