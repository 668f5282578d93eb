"""`reid-verify`: the gate for any session of a bundle, on the device that it will run on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.commands.export_options import (
    Strict,
    ToleranceMap,
    ToleranceRank,
    Tolerances,
    VerifyExpandQueries,
    VerifyRerank,
)
from reid.commands.options import (
    DEFAULT_PIXELS,
    MODEL,
    OUTPUT,
    AsJson,
    DataArgument,
    LayoutOption,
    MaxPixels,
    SessionOption,
)
from reid.commands.shell import ProgressBar, application, note_problems, print_json, run
from reid.commands.terminal import print_result
from reid.commands.verification import log_verification, summary_of, tolerance_of
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.evaluation.verification.records import Verification
    from reid.runtime.bundle import Bundle
    from reid.runtime.sessions.session import Session
    from reid.runtime.sessions.tensorrt import TensorRTSession

app = application()
logger = logging.getLogger(__name__)

_VERDICTS = {"within": "within tolerance", "undecided": "nothing outside tolerance, but not all decided,"}


@app.command(epilog="Example: reid-verify bundle VeRi --session tensorrt --precision fp16")
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle of reid-export.")],
    data: DataArgument,
    expand_queries: VerifyExpandQueries = 0,
    rerank: VerifyRerank = False,
    layout: LayoutOption = None,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    tolerance_map: ToleranceMap = 0.5,
    tolerance_rank: ToleranceRank = 0.5,
    tolerances: Tolerances = None,
    strict: Strict = False,
    session: SessionOption = "auto",
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(PRECISIONS),
            help="Precision to verify; may be repeated. [default: all that the session can run]",
            rich_help_panel=MODEL,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for verification.json and report.html.", rich_help_panel=OUTPUT)
    ] = Path("verification"),
    as_json: AsJson = False,
) -> None:
    """Judge a session by what it finds in a data set, beside PyTorch. Needs no PyTorch.

    It is compared with PyTorch's results on DATA if the bundle was verified on it, and else with its FP32 graph on the
    CPU. A session outside tolerance ends in exit code 3; the report is written in either case.
    """
    from reid.data.layout import open_dataset
    from reid.evaluation.verification.sentences import data_sentence
    from reid.evaluation.verification.verify import verify as judge
    from reid.pages.verification.files import REPORT_FILE, write_verification
    from reid.runtime.bundle import Bundle
    from reid.runtime.files.manifest import replaceable_directory
    from reid.runtime.galleries.post_processing import PostProcessing

    if unknown := [one for one in precision or () if one not in PRECISIONS]:
        raise typer.BadParameter(f"unknown precision {unknown[0]!r}; choose one of: {', '.join(PRECISIONS)}")
    tolerance = tolerance_of(tolerances, tolerance_map, tolerance_rank, strict=strict)
    opened = Bundle.open(bundle)
    dataset = open_dataset(data, layout, needs="query")
    note_problems(dataset)
    with ExitStack() as stack:
        # Opening the folder first finds out before the work whether it can be written.
        with replaceable_directory(output, inputs=(bundle, data)) as folder:
            sessions = [stack.enter_context(one) for one in _open_sessions(opened, session, precision)]
            with ProgressBar() as progress:
                found = judge(
                    bundle,
                    dataset,
                    sessions,
                    tolerance=tolerance,
                    post_processing=PostProcessing(expand_queries, rerank),
                    progress=progress,
                )
            write_verification(folder, found)
        _record_judgments(sessions, found)
        if (traced := _traced(opened, sessions, found)) != found:
            found = traced
            _write_again(output, (bundle, data), found)
    log_verification(found)
    _refuse(found, output / REPORT_FILE)
    logger.info("%s on %s, compared with %s", _VERDICTS[found.verdict], data_sentence(found.judged_on), found.reference)
    if as_json:
        print_json({"output": str(output), "verdict": found.verdict, **summary_of(found), "data": dataset.facts()})
    else:
        print_result(printable(output / REPORT_FILE))


def _open_sessions(bundle: Bundle, name: str, precisions: Sequence[str] | None) -> Iterator[Session]:
    """Yield a session for each precision that was named, or else for each that the backend has something to run in."""
    from reid.runtime.engine_card import engine_precisions
    from reid.runtime.opening import backend_of, open_unchecked

    there: Sequence[str] = precisions or engine_precisions(bundle, backend_of(name)) or bundle.precisions
    for precision in PRECISIONS:
        if precision in there:
            yield open_unchecked(bundle.root, name, precision).session  # what is wrong with it, the report says


def _record_judgments(sessions: Sequence[Session], found: Verification) -> None:
    """Keep what was found of engines in their sidecars, so that whoever opens them next knows."""
    from reid.evaluation.verification.engines import judgment_of, record_judgment
    from reid.runtime.errors import ReidError

    engines = _engines(sessions)
    for precision in found.precisions:
        if engine := engines.get(precision.precision):
            try:
                record_judgment(engine.path, judgment_of(precision, found.judged_on, found.reference))
            except ReidError as error:  # a bundle that may not be changed can be verified all the same
                logger.warning("the verdict is not kept with the engine: %s", error)


def _traced(bundle: Bundle, sessions: Sequence[Session], found: Verification) -> Verification:
    """Return what was found, with where each session outside tolerance departs."""
    if found.verdict != "outside":
        return found
    from reid.evaluation.verification.reference import Crops
    from reid.export.engines.trace import SessionTrace
    from reid.runtime.engine_card import EngineCard

    sidecars = {
        name: partial(EngineCard.read, engine.path.with_suffix(".json")) for name, engine in _engines(sessions).items()
    }
    by_precision = {session.info.precision: session for session in sessions}
    with ProgressBar() as progress:
        trace = SessionTrace(bundle.root, Crops.of(bundle), progress)
        precisions = tuple(
            trace(one, by_precision[one.precision], sidecars.get(one.precision)) for one in found.precisions
        )
    return found.model_copy(update={"precisions": precisions})


def _write_again(output: Path, inputs: Sequence[Path], found: Verification) -> None:
    """Replace the report by one that says more; where that fails, the verdict and the report are there already."""
    from reid.pages.verification.files import write_verification
    from reid.runtime.errors import ReidError
    from reid.runtime.files.manifest import replaceable_directory

    try:
        with replaceable_directory(output, inputs=inputs) as folder:
            write_verification(folder, found)
    except (ReidError, OSError) as error:
        logger.warning("the report does not say where the session departs: %s", error)


def _engines(sessions: Sequence[Session]) -> dict[Precision, TensorRTSession]:
    from reid.runtime.sessions.tensorrt import TensorRTSession

    return {one.info.precision: one for one in sessions if isinstance(one, TensorRTSession)}


def _refuse(found: Verification, page: Path) -> None:
    """Raise GateError where something is outside tolerance."""
    from reid.evaluation.verification.origin import failure_with_origin
    from reid.runtime.errors import GateError

    if found.failures:
        session = next(one.session for one in found.precisions if found.failures[0] in one.failures)
        said = failure_with_origin(found)
        raise GateError(f"{session}, {said}; compared with {found.reference}, see {page}")


def main() -> None:
    """Entry point."""
    run(app)
