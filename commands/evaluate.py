"""`reid-eval`: mAP and Rank-k of a model on a data set."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reid.commands.operating_point_table import operating_point_tables
from reid.commands.options import (
    DATA,
    DEFAULT_PIXELS,
    OUTPUT,
    AsJson,
    DataArgument,
    ExpandQueries,
    LayoutName,
    LayoutOption,
    MaxPixels,
    PrecisionOption,
    Rerank,
    SessionOption,
)
from reid.commands.shell import ProgressBar, application, note_problems, print_json, run
from reid.commands.terminal import print_result, print_tables
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.data.dataset import Dataset
    from reid.evaluation.protocols import EmbeddedData, Protocol
    from reid.evaluation.scored_test_sets import ScoredTestSet
    from reid.runtime.galleries.post_processing import PostProcessing
    from reid.runtime.sessions.session import Session

app = application()
logger = logging.getLogger(__name__)


@app.command(epilog="Example: reid-eval runs/latest VeRi")
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A run, a checkpoint, a bundle or an .onnx file.")],
    data: DataArgument,
    protocols: Annotated[
        str | None,
        typer.Option(
            help="One or more of i2i, i2t and t2t, comma-separated. [default: those that DATA has entries for]"
        ),
    ] = None,
    expand_queries: ExpandQueries = 0,
    rerank: Rerank = False,
    same_camera: Annotated[
        Literal["keep", "drop"] | None,
        typer.Option(
            help="Whether gallery entries of the query's vehicle and camera are ranked: keep or drop. [default: drop, "
            "where cameras can tell a right answer]"
        ),
    ] = None,
    layout: LayoutOption = None,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    test_set: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The only one of DATA's test sets to score, such as 800 of VehicleID's.",
            rich_help_panel=DATA,
        ),
    ] = None,
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
    """Report mAP and Rank-k of a model on a data set, in percent, and thresholds at stated false-match rates.

    Gallery entries of the query's vehicle and camera are left out unless --same-camera keeps them; queries without a
    right answer are not counted.
    """
    from reid.evaluation.challenge import challenge_of, check_submission_file
    from reid.evaluation.scored_test_sets import Scoring, choose_test_sets, embed_test_sets, score_test_sets
    from reid.runtime.galleries.post_processing import PostProcessing
    from reid.runtime.opening import open_session

    post_processing = PostProcessing(expand_queries, rerank)
    scoring = Scoring(_parse_protocols(protocols), post_processing, same_camera)
    if submission is not None:
        check_submission_file(submission, [model, data])
    dataset = _open_dataset(data, layout, challenge=submission is not None)
    note_problems(dataset)
    if submission is not None:
        challenge_of(dataset)  # fail before the work if there is no challenge
    test_sets = choose_test_sets(dataset, test_set) if dataset.query.images else ()
    with open_session(model, session, precision) as opened:
        with ProgressBar() as progress:
            embedded = embed_test_sets(opened, test_sets, scoring, progress=progress)
        scores = score_test_sets(embedded, dataset, test_sets, scoring)
        result: dict[str, Any] = {
            **(scores[0].facts() if scores else {"protocols": {}}),
            "test_sets": {one.name: one.facts() for one in scores if one.name},
            "model": _model_facts(model, opened),
            "data": _data_facts(dataset, embedded),
            "expand_queries": expand_queries,
            "rerank": rerank,
        }
        if submission is not None:
            result["submission"] = _write_submission(opened, dataset, submission, post_processing)
    _note_held_out(dataset)
    if as_json:
        print_json(result)
    elif scores:
        _print_table(scores)
    else:
        print_result(printable(submission))


def _open_dataset(data: Path, layout: LayoutName | None, *, challenge: bool) -> Dataset:
    """Read a data set that must have queries; or, for the challenge, images without labels."""
    from reid.data.layout import open_dataset, read_dataset
    from reid.runtime.errors import DataError

    try:
        return open_dataset(data, layout, needs="query")
    except DataError:
        if not challenge:
            raise
        dataset = read_dataset(data, layout)
        if dataset.query.images or dataset.challenge is None:
            raise
    logger.warning("%s has no labeled queries to evaluate on: only the submission is written", dataset.root)
    return dataset


def _note_held_out(dataset: Dataset) -> None:
    """Note that the queries are training vehicles, and what they were held out by, if they are."""
    facts = dataset.split_facts
    if facts:
        by = {
            "cameras": "",
            "tracks": ", by tracks: right answers are other tracks of the vehicle",
            "images": ", by images: frames that were taken one after the other make for high scores",
        }[facts.get("by", "cameras")]
        logger.warning(
            "evaluated on %d held-out training vehicles (seed %d)%s", len(facts["vehicles"]), facts["seed"], by
        )


def _parse_protocols(names: str | None) -> tuple[Protocol, ...] | None:
    from reid.evaluation.protocols import parse_protocols
    from reid.runtime.errors import DataError

    try:
        return None if names is None else parse_protocols(names)
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
        **dataset.facts(),
        "unreadable": list(embedded.unreadable),
        "queries_left_out": list(embedded.queries_left_out),
        "split": dict(dataset.split_facts),
    }


def _write_submission(
    session: Session, dataset: Dataset, path: Path, post_processing: PostProcessing
) -> dict[str, Any]:
    from reid.evaluation.challenge import write_submission

    with ProgressBar() as progress:
        unreadable = write_submission(session, dataset, path, post_processing, progress=progress)
    if unreadable:
        names = ", ".join(unreadable[:5])
        logger.warning("%d challenge images could not be read and were left out: %s", len(unreadable), names)
    return {"path": str(path), "post_processing": post_processing.name, "unreadable": list(unreadable)}


def _print_table(scores: Sequence[ScoredTestSet]) -> None:
    """Print a table for each rule of what is left out, which its title says, with all test sets that have it."""
    from rich.table import Table

    from reid.evaluation.metrics import METRICS
    from reid.evaluation.same_camera import same_camera_title

    tables: dict[str, Table] = {}
    for one in scores:
        drawn = f"; means over {one.draws} draws" if one.draws else ""
        title = f"{same_camera_title(one.own_view)}{drawn}"
        columns = [*(["test set"] if one.name else []), "protocol", "ranking", *METRICS, "queries", "gallery"]
        table = tables.setdefault(title, Table(*columns, title=title, title_justify="left"))
        for name, step in itertools.product(one.protocols, one.scores):
            found = one.scores[step][name]
            percentages = (f"{found[metric]:.2f}" for metric in METRICS)
            row = (name.upper(), step, *percentages, f"{found['queries']:,}", f"{found['gallery']:,}")
            table.add_row(*([one.name] if one.name else []), *row)
    print_tables(*tables.values(), *operating_point_tables(scores))


def main() -> None:
    """Entry point."""
    run(app)
