"""`reid-calibrate`: ranges and sensitivity of a model, without exporting it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reid.commands.options import (
    CALIBRATION,
    DEFAULT_PIXELS,
    LARGEST_SEED,
    OUTPUT,
    AllowEvaluationData,
    AsJson,
    CalibrationFrames,
    LayoutName,
    LayoutOption,
    MaxPixels,
    RangeMethod,
    RangesOption,
)
from reid.commands.shell import ProgressBar, application, note_problems, print_json, run, signed
from reid.commands.terminal import print_result, print_tables
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.calibration.scales import ScaleFile
    from reid.calibration.selection import CalibrationFacts
    from reid.calibration.sensitivity import LayerEffect, Sensitivity
    from reid.export.int8.plan import CalibrationRequest

app = application()
logger = logging.getLogger(__name__)

SENSITIVITY_FILE = "sensitivity.json"
REPORT_FILE = "report.html"

_STORED = "Stored scale files"

_WIDTH = 120
"""Width of a table that goes into a file or a pipe, in characters."""


@app.command(epilog="Example: reid-calibrate runs/latest VeRi --sensitivity")
def calibrate(
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL", help="A run, a checkpoint, a bundle or its FP32 graph.")
    ] = None,
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Data set with the training split to measure on.")
    ] = None,
    layout: LayoutOption = None,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    frames: CalibrationFrames = 256,
    seed: Annotated[
        int,
        typer.Option(min=0, max=LARGEST_SEED, help="Random seed for choosing the frames.", rich_help_panel=CALIBRATION),
    ] = 0,
    calibrate_on_evaluation_data: AllowEvaluationData = False,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity",
            help="Also measure how much INT8 in each layer changes the embeddings, and write an HTML page.",
            rich_help_panel=CALIBRATION,
        ),
    ] = False,
    ranges: RangesOption = "auto",
    inspect: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Print a scale file; measure nothing.", rich_help_panel=_STORED),
    ] = None,
    diff: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A B", help="Print how two scale files differ; measure nothing.", rich_help_panel=_STORED),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(help="Folder for scales.json and the output of --sensitivity.", rich_help_panel=OUTPUT),
    ] = Path("calibration"),
    as_json: AsJson = False,
) -> None:
    """Measure a model's ranges for INT8 on training frames; `reid-export --int8 --scales` uses them again.

    A measurement with --sensitivity that was stopped resumes from OUTPUT.progress.json.
    """
    if sum(one is not None for one in (inspect, diff, model)) > 1:
        raise typer.BadParameter("use only one of --inspect FILE, --diff A B, and MODEL with DATA")
    if inspect is not None:
        result = _inspect(inspect, as_json)
    elif diff is not None:
        result = _diff(*diff, as_json)
    elif model is None or data is None:
        raise typer.BadParameter("give MODEL and DATA, or --inspect FILE, or --diff A B")
    elif ranges != "auto" and not sensitivity:
        raise typer.BadParameter(
            "--ranges needs --sensitivity, since a scale file holds the ranges of every method: add it"
        )
    else:
        request = _request(data, layout, frames, seed, ranges, calibrate_on_evaluation_data)
        result = _measure(model, output, request, sensitivity, as_json)
    if as_json:
        print_json(result)


def _request(
    data: Path, layout: LayoutName | None, frames: int, seed: int, ranges: RangeMethod, allow_evaluation_data: bool
) -> CalibrationRequest:
    from reid.calibration.amax import METHODS
    from reid.calibration.selection import open_calibration_data
    from reid.export.int8.plan import CalibrationRequest

    dataset = open_calibration_data(data, layout, allow_evaluation_data=allow_evaluation_data)
    note_problems(dataset)
    methods = METHODS if ranges == "auto" else (ranges,)
    return CalibrationRequest(dataset, frames, seed, methods, allow_evaluation_data=allow_evaluation_data)


def _measure(
    model: Path, output: Path, request: CalibrationRequest, with_layers: bool, as_json: bool
) -> dict[str, Any]:
    from dataclasses import replace

    from reid.calibration.journal import check_journal, remove_journal
    from reid.export.int8.measurement import measure
    from reid.export.int8.page import write_sensitivity_page
    from reid.export.int8.record import SCALES_FILE
    from reid.runtime.files.manifest import replaceable_directory
    from reid.runtime.files.storage import companion

    journal = companion(output, "progress.json") if with_layers else None
    check_journal(journal)
    with replaceable_directory(output, inputs=(model, request.data.root)) as folder:
        with ProgressBar() as progress:
            scales, found = measure(
                model, replace(request, journal=journal), sensitivity=with_layers, progress=progress
            )
        scales.save(folder / SCALES_FILE)
        if found:
            (folder / SENSITIVITY_FILE).write_text(found.model_dump_json(indent=2) + "\n")
            write_sensitivity_page(folder / REPORT_FILE, scales, found)
    remove_journal(journal)
    if found and not as_json:
        _print_sensitivity(found)
    if not as_json:
        print_result(printable(output))
    result = {
        "output": str(output),
        **_facts(scales),
        "tensors": len(scales.tensors),
        "data": request.data.facts(),
    }
    return {**result, "sensitivity": found.model_dump(mode="json")} if found else result


def _facts(scales: ScaleFile) -> dict[str, Any]:
    return {
        "fingerprint": scales.fingerprint,
        "graph_sha256": scales.graph_sha256,
        "calibration": scales.calibration.model_dump(mode="json"),
    }


def _inspect(file: Path, as_json: bool) -> dict[str, Any]:
    from reid.calibration.amax import METHODS
    from reid.calibration.scales import ScaleFile, describe

    scales = ScaleFile.load(file)
    if not as_json:
        graph = f"graph {scales.graph_sha256[:12]} of model {scales.fingerprint[:12]}"
        print_result(printable(f"{graph}; {_sentence(scales.calibration)}"))
        print_result("for each method: the range, and its error in percent of the tensor's root mean square")
        rows = [
            (
                name,
                f"{100 * found.zeros:.0f} %",
                *(f"{found.by_method[one].value:.3g} {100 * found.by_method[one].error:.2g}%" for one in METHODS),
            )
            for name, found in scales.tensors.items()
        ]
        _print_table(("tensor", "zeros", *METHODS), rows)
    return {"file": str(file), **_facts(scales), "tensors": describe(scales)}


def _sentence(facts: CalibrationFacts) -> str:
    return (
        f"{facts.count} frames ({facts.split}) of {facts.vehicles} vehicles and {len(facts.cameras)} cameras, "
        f"seed {facts.seed}"
    )


def _diff(first: Path, second: Path, as_json: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from reid.calibration.amax import METHODS
    from reid.calibration.scales import ScaleFile, compare

    files = [ScaleFile.load(path) for path in (first, second)]
    found = compare(*files)
    if not as_json:
        for path, scales in zip((first, second), files, strict=True):
            print_result(printable(f"{path}: graph {scales.graph_sha256[:12]}; {_sentence(scales.calibration)}"))
        same = "of the same graph" if found.same_graph else "of DIFFERENT graphs: neither can stand in for the other"
        print_result(same)
        rows = [
            (tensor, *(f"{signed(100 * changes[method], 1)} %" for method in METHODS))
            for tensor, changes in found.changes.items()
        ]
        _print_table(("tensor", *METHODS), rows)
        for path, names in ((first, found.only_first), (second, found.only_second)):
            if names:
                print_result(printable(f"only in {path}: {', '.join(names)}"))
    return {"first": str(first), "second": str(second), **asdict(found)}


def _print_sensitivity(found: Sensitivity) -> None:
    def row(one: LayerEffect) -> tuple[str, ...]:
        change = "" if one.map_change is None else signed(one.map_change, 2)
        work = f"{100 * one.fraction:.1f} %" if one.fraction else ""
        return one.layer, one.op, work, f"{one.error:.2e}", f"{one.worst:.2e}", change, one.method

    worst_first = sorted(found.layers, key=lambda one: -one.error)
    _print_table(("layer", "op", "work", "error", "worst", "mAP", "range"), [row(one) for one in worst_first])
    for method, error in sorted(found.method_errors.items(), key=lambda entry: entry[1]):
        logger.info("everything in INT8 with %s ranges: error %.2e", method, error)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(printable, row))
    print_tables(table, width=_WIDTH)


def main() -> None:
    """Entry point."""
    run(app)
