"""`reid-eval`: mAP and Rank-k of a model on a data set."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reid.commands.options import (
    DEFAULT_PIXELS,
    OUTPUT,
    AsJson,
    DataArgument,
    LayoutOption,
    MaxPixels,
    PrecisionOption,
    SessionOption,
)
from reid.commands.shell import ProgressBar, application, note_problems, print_json, run
from reid.commands.terminal import print_tables

if TYPE_CHECKING:
    from reid.data.dataset import Dataset
    from reid.evaluation.protocols import EmbeddedData, Protocol
    from reid.runtime.sessions.session import Session

app = application()
logger = logging.getLogger(__name__)


@app.command(epilog="Example: reid-eval runs/latest VeRi")
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A run, a checkpoint, a bundle or an .onnx file.")],
    data: DataArgument,
    protocols: Annotated[str, typer.Option(help="One or more of i2i, i2t and t2t, comma-separated.")] = "i2i,i2t,t2t",
    rerank: Annotated[bool, typer.Option("--rerank", help="Use k-reciprocal re-ranking.")] = False,
    layout: LayoutOption = None,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    session: SessionOption = "auto",
    precision: PrecisionOption = "fp32",
    submission: Annotated[
        Path | None,
        typer.Option(
            help="CityFlow: also write the challenge's submission file, 100 matches per query.", rich_help_panel=OUTPUT
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report mAP and Rank-k of a model on a data set, in percent.

    Gallery entries of the query's vehicle and camera are left out; queries without a right answer are not counted.
    """
    from reid.data.layout import open_dataset
    from reid.evaluation.challenge import challenge_of, check_submission_file
    from reid.evaluation.evaluate import score
    from reid.evaluation.protocols import embed_data
    from reid.runtime.opening import open_session

    chosen = _parse_protocols(protocols)
    if submission is not None:
        check_submission_file(submission, [model, data])
    dataset = open_dataset(data, layout, needs="query")
    note_problems(dataset)
    if submission is not None:
        challenge_of(dataset)  # fail before the work if there is no challenge
    with open_session(model, session, precision) as opened:
        with ProgressBar() as progress:
            embedded = embed_data(opened, dataset.query, dataset.gallery, progress=progress)
        metrics = score(embedded, chosen, rerank=rerank)
        protocol_scores = {name: found.summary() for name, found in metrics.items()}
        result: dict[str, Any] = {
            "protocols": protocol_scores,
            "model": _model_facts(model, opened),
            "data": _data_facts(dataset, embedded),
            "rerank": rerank,
        }
        if submission is not None:
            result["submission"] = _write_submission(opened, dataset, submission)
    if dataset.split_facts:
        held_out, seed = len(dataset.split_facts["vehicles"]), dataset.split_facts["seed"]
        logger.warning("evaluated on %d held-out training vehicles (seed %d)", held_out, seed)
    if as_json:
        print_json(result)
    else:
        _print_table(protocol_scores)


def _parse_protocols(names: str) -> tuple[Protocol, ...]:
    from reid.evaluation.protocols import parse_protocols
    from reid.runtime.errors import DataError

    try:
        return parse_protocols(names)
    except DataError as error:
        raise typer.BadParameter(str(error), param_hint="--protocols") from None


def _model_facts(model: Path, session: Session) -> dict[str, Any]:
    card = session.info.card
    return {
        "path": str(model),
        "fingerprint": card.fingerprint,
        "backbone": card.backbone,
        "levels": [level.name for level in card.levels],
        "session": str(session.info),
        "precision": session.info.precision,
    }


def _data_facts(dataset: Dataset, embedded: EmbeddedData) -> dict[str, Any]:
    return {
        "path": str(dataset.root),
        "layout": dataset.layout,
        "problems": len(dataset.problems),
        "unreadable": list(embedded.unreadable),
        "queries_left_out": list(embedded.queries_left_out),
        "split": dict(dataset.split_facts),
    }


def _write_submission(session: Session, dataset: Dataset, path: Path) -> dict[str, Any]:
    from reid.evaluation.challenge import write_submission

    with ProgressBar() as progress:
        unreadable = write_submission(session, dataset, path, progress=progress)
    if unreadable:
        names = ", ".join(unreadable[:5])
        logger.warning("%d challenge images could not be read and were left out: %s", len(unreadable), names)
    return {"path": str(path), "unreadable": list(unreadable)}


def _print_table(protocols: dict[str, dict[str, float | int]]) -> None:
    from rich.table import Table

    from reid.evaluation.metrics import METRICS

    table = Table("protocol", *METRICS, "queries", "gallery")
    for name, scores in protocols.items():
        percentages = (f"{scores[metric]:.2f}" for metric in METRICS)
        table.add_row(name.upper(), *percentages, f"{scores['queries']:,}", f"{scores['gallery']:,}")
    print_tables(table)


def main() -> None:
    """Entry point."""
    run(app)
