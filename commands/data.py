"""`reid-data`: make a synthetic data set, or look for what is wrong with one."""

from __future__ import annotations

import sys
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.commands.shell import Layout, application, print_json, progress, run

if TYPE_CHECKING:
    from reid.data.inspection import Inspection

app = application()


@app.callback(epilog="Example: reid-data inspect VeRi")
def describe() -> None:
    """Make a synthetic data set, or look for what is wrong with one."""


@app.command(epilog="Example: reid-data synthesize data --vehicles 60 --cameras 6")
def synthesize(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; absent or empty.")],
    vehicles: Annotated[int, typer.Option(help="Identities, of which six in ten are for training.")] = 60,
    cameras: Annotated[int, typer.Option(help="Cameras, each with its own angle, light and quality.")] = 6,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Write procedural vehicles in the layout of VeRi-776."""
    from reid.data.synthesis.veri import synthesize as write

    with progress("rendering", "images") as on_image:
        summary = write(output, vehicles=vehicles, cameras=cameras, seed=seed, progress=on_image)
    if as_json:
        print_json(asdict(summary))
    else:
        print(output)


@app.command(epilog="Example: reid-data inspect VeRi")
def inspect(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a data set.")],
    layout: Annotated[Layout | None, typer.Option(help="Recognized if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Count identities, cameras, images and tracklets per split, and list every problem."""
    from reid.data.inspection import inspect as open_every_image
    from reid.data.layout import read_dataset

    dataset = read_dataset(data, layout)
    with progress("opening", "images") as on_image:
        inspection = open_every_image(dataset, on_image)
    if as_json:
        splits = {name: asdict(counts) for name, counts in inspection.splits.items()}
        problems = [asdict(problem) for problem in inspection.problems]
        print_json({"layout": inspection.layout, "splits": splits, "problems": problems})
    else:
        _print_tables(inspection)


def _print_tables(inspection: Inspection) -> None:
    from rich.console import Console
    from rich.table import Table

    counts = Table("split", "identities", "cameras", "images", "tracklets", title=f"layout {inspection.layout}")
    for name, split in inspection.splits.items():
        counts.add_row(name, *(f"{number:,}" for number in asdict(split).values()))
    problems = Table(title=f"{len(inspection.problems)} problems")
    for column in ("problem", "where", "detail"):
        problems.add_column(column, overflow="fold")
    for problem in inspection.problems:
        problems.add_row(*map(_printable, astuple(problem)))
    # In a file or a pipe, a line is as long as it must be, so that names can be searched for.
    console = Console(markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else 10_000)
    console.print(counts)
    console.print(problems if inspection.problems else "no problems")


def _printable(text: str) -> str:
    """Escape what the output cannot say, such as a file name that is no valid text."""
    encoding = sys.stdout.encoding
    return text.encode(encoding, errors="backslashreplace").decode(encoding)


def main() -> None:
    """Entry point."""
    run(app)
