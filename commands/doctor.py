"""`reid-doctor`: what works on this machine, what does not, why, and the command that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.commands.options import MODEL, AsJson
from reid.commands.shell import ProgressBar, application, print_json, run
from reid.commands.terminal import print_tables
from reid.runtime.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from reid.runtime.doctor.diagnosis import Diagnosis

app = application()

_WIDTH = 120


@app.command(epilog="Example: reid-doctor bundle --session openvino")
def doctor(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL", help="A bundle, an .onnx file, a checkpoint or a run. [default: a tiny bundle of its own]"
        ),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Session to try, with its device after a colon if wanted. [default: all]",
            rich_help_panel=MODEL,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what works on this machine, what does not, why, and the command that mends it.

    Every session embeds crops whose embeddings are known, in a process of its own. Exit code 1 says that none works.
    """
    from reid.runtime.doctor.diagnosis import diagnose, find_subjects
    from reid.runtime.errors import SessionError

    subjects = find_subjects(session, model)
    with ProgressBar() as progress:
        found = diagnose(subjects, progress)
    if as_json:
        print_json(_as_json(found))
    else:
        print_tables(*_as_renderables(found), width=_WIDTH)
    if not found.works:
        raise SessionError(f"{session or 'no session'} {'does not work' if session else 'works'} on this machine")


def _as_json(found: Diagnosis) -> dict[str, object]:
    return {"works": found.works, **asdict(found), "remedies": [asdict(one) for one in found.remedies]}


def _as_renderables(found: Diagnosis) -> Iterator[RenderableType]:
    from rich.table import Table

    table = Table("check", "state", "detail", box=None, pad_edge=False)
    for check in found.checks:
        table.add_row(*(printable(text) for text in (check.name, check.state, check.detail)))
    yield table
    if found.remedies:
        yield "\nWhat mends the rest, the most useful first:\n"
        longest = max(len(one.command) for one in found.remedies)
        for one in found.remedies:
            yield f"  {printable(one.command):{longest}}  # {printable(', '.join(one.mends))}"


def main() -> None:
    """Entry point."""
    run(app)
