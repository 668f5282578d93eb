"""`reid-eval`: mAP and Rank-k of a model on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reid.commands.options import PrecisionOption
from reid.commands.shell import Layout, ProgressBar, application, note, note_problems, print_json, run

if TYPE_CHECKING:
    from reid.data.dataset import Dataset
    from reid.evaluation.protocols import EmbeddedData, Protocol
    from reid.runtime.sessions.session import Session

app = application()


@app.command(epilog="Example: reid-eval runs/latest VeRi")
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A run, a checkpoint, a bundle or an .onnx file.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a data set.")],
    protocols: Annotated[str, typer.Option(help="Of i2i, i2t and t2t, comma-separated.")] = "i2i,i2t,t2t",
    session: Annotated[str, typer.Option(help="Backend, such as onnxruntime:cpu or torch:cuda.")] = "auto",
    precision: PrecisionOption = "fp32",
    rerank: Annotated[bool, typer.Option("--rerank", help="Use k-reciprocal re-ranking.")] = False,
    submission: Annotated[
        Path | None, typer.Option(help="CityFlow: also write the challenge's file, 100 ranks a query.")
    ] = None,
    layout: Annotated[Layout | None, typer.Option(help="Recognized if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Evaluate a model: I2I, I2T and T2T, in percent.

    Gallery entries of the query's vehicle and camera are left out; queries without a right answer are not counted.
    """
    from reid.data.layout import open_dataset
    from reid.evaluation.challenge import challenge_of
    from reid.evaluation.protocols import embed_data
    from reid.runtime.opening import open_session

    chosen = _chosen(protocols)
    dataset = open_dataset(data, layout, needs="query")
    note_problems(dataset)
    if submission is not None:
        challenge_of(dataset)  # that it has none is better known before the work than after it
    with open_session(model, session, precision) as opened:
        with ProgressBar() as progress:
            embedded = embed_data(opened, dataset.query, dataset.gallery, progress=progress)
        scores = _scores(embedded, chosen, rerank=rerank)
        result = {
            "protocols": scores,
            "model": _model_facts(model, opened, precision),
            "data": _data_facts(dataset, embedded),
            "rerank": rerank,
        }
        if submission is not None:
            result["submission"] = _write_submission(opened, dataset, submission)
    if as_json:
        print_json(result)
    else:
        _print_table(result)


def _chosen(protocols: str) -> tuple[Protocol, ...]:
    from reid.evaluation.protocols import parse_protocols
    from reid.runtime.errors import DataError

    try:
        return parse_protocols(protocols)
    except DataError as error:
        raise typer.BadParameter(str(error), param_hint="--protocols") from None


def _scores(embedded: EmbeddedData, protocols: Sequence[Protocol], *, rerank: bool) -> dict[str, Any]:
    """Score by every protocol that the data serves; what it does not serve is said, and an error if it serves none."""
    from reid.evaluation.protocols import evaluate_protocol
    from reid.runtime.errors import DataError

    def score(protocol: Protocol) -> dict[str, float | int] | DataError:
        try:
            return evaluate_protocol(embedded, protocol, rerank=rerank).summary()
        except DataError as error:
            return error

    outcomes = {protocol.name: score(protocol) for protocol in protocols}
    failures = [outcome for outcome in outcomes.values() if isinstance(outcome, DataError)]
    if len(failures) == len(outcomes):
        raise failures[0]
    for failure in failures:
        note(f"note: {failure}")
    return {name: outcome for name, outcome in outcomes.items() if not isinstance(outcome, DataError)}


def _model_facts(model: Path, session: Session, precision: str) -> dict[str, Any]:
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
    return {"path": str(path), "unreadable": list(unreadable)}


def _print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from reid.evaluation.metrics import METRICS

    table = Table("protocol", *METRICS, "queries", "gallery")
    for name, scores in result["protocols"].items():
        numbers = (f"{scores[column]:.2f}" for column in METRICS)
        table.add_row(name.upper(), *numbers, f"{scores['queries']:,}", f"{scores['gallery']:,}")
    Console().print(table)
    for name, scores in result["protocols"].items():
        if scores["unanswerable"]:
            note(f"note: {name}: {scores['unanswerable']} queries have no right answer and are not counted")
    unreadable = result["data"]["unreadable"] + result.get("submission", {}).get("unreadable", [])
    if unreadable:
        note(f"note: {len(unreadable)} frames could not be read and were left out: {', '.join(unreadable[:5])}")
    left_out = result["data"]["queries_left_out"]
    if left_out:
        note(f"note: {len(left_out)} queries could not be read and are not counted: {', '.join(left_out[:5])}")
    split = result["data"]["split"]
    if split:
        note(f"note: evaluated on {len(split['vehicles'])} held-out training vehicles (seed {split['seed']})")


def main() -> None:
    """Entry point."""
    run(app)
