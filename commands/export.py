"""`reid-export`: turn a checkpoint into a verified bundle, or add engines to a bundle."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from reid.commands.export_options import (
    DEFAULT_OUTPUT,
    Calibration,
    ComputeCapability,
    DeepStreamFolder,
    Engine,
    EnginePrecisions,
    Fp16,
    HardwareCompatible,
    HubCard,
    Int8,
    Model,
    ObjectiveOption,
    OptimizationLevel,
    Output,
    Profiles,
    Scales,
    Strict,
    TimingCache,
    ToleranceMap,
    ToleranceRank,
    Tolerances,
    TritonRepository,
    Verify,
    VerifyExpandQueries,
    VerifyRerank,
    VersionCompatible,
    Workspace,
    check_rules,
)
from reid.commands.options import (
    DEFAULT_PIXELS,
    AllowEvaluationData,
    AsJson,
    CalibrationFrames,
    LayoutName,
    LayoutOption,
    MaxPixels,
    RangeMethod,
    RangesOption,
    whole_number,
)
from reid.commands.shell import ProgressBar, application, note_problems, print_json, run
from reid.commands.terminal import print_result
from reid.commands.verification import log_verification, summary_of, tolerance_of
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.data.dataset import Dataset
    from reid.export.bundle import ExportRequest
    from reid.export.engines.add import EngineTrial
    from reid.export.engines.options import EngineOptions
    from reid.export.int8.plan import CalibrationRequest
    from reid.export.int8.record import Int8Record, TrainedInt8Record
    from reid.export.int8.trained import TrainedInt8
    from reid.runtime.engine_card import Profile

app = application()
logger = logging.getLogger(__name__)

_LARGEST_SIZE = 65_536
"""Most frames, or tracklets, of a profile."""


@app.command(epilog="Example: reid-export runs/latest --fp16 --verify VeRi --engine tensorrt-rtx")
def export(
    context: typer.Context,
    model: Model = Path("runs/latest"),
    output: Output = DEFAULT_OUTPUT,
    fp16: Fp16 = False,
    int8: Int8 = False,
    calibration: Calibration = None,
    calibration_frames: CalibrationFrames = 256,
    ranges: RangesOption = "auto",
    scales: Scales = None,
    calibrate_on_evaluation_data: AllowEvaluationData = False,
    objective: ObjectiveOption = "macs",
    verify: Verify = None,
    expand_queries: VerifyExpandQueries = 0,
    rerank: VerifyRerank = False,
    layout: LayoutOption = None,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    tolerance_map: ToleranceMap = 0.5,
    tolerance_rank: ToleranceRank = 0.5,
    tolerances: Tolerances = None,
    strict: Strict = False,
    engine: Engine = "none",
    precision: EnginePrecisions = None,
    profile: Profiles = None,
    workspace: Workspace = 4096,
    optimization_level: OptimizationLevel = 3,
    timing_cache: TimingCache = None,
    hardware_compatible: HardwareCompatible = False,
    version_compatible: VersionCompatible = False,
    compute_capability: ComputeCapability = None,
    triton: TritonRepository = None,
    deepstream: DeepStreamFolder = None,
    hub_card: HubCard = False,
    as_json: AsJson = False,
) -> None:
    """Write a bundle: fused graphs, compared with PyTorch, with everything needed to run them.

    A graph outside tolerance ends in exit code 3 and no bundle; the report is then in OUTPUT.rejected.
    """
    from reid.export.engines.options import EngineOptions
    from reid.runtime.bundle import CARD_FILE
    from reid.runtime.galleries.post_processing import PostProcessing

    is_bundle = (model / CARD_FILE).is_file()
    check_rules(context.params, is_bundle)
    try:
        options = EngineOptions(
            flavor="tensorrt" if engine == "none" else engine,
            workspace_mib=workspace,
            optimization_level=optimization_level,
            timing_cache=timing_cache,
            hardware_compatible=hardware_compatible,
            version_compatible=version_compatible,
            compute_capabilities=tuple(dict.fromkeys(compute_capability or ())),
            **({"profiles": tuple(map(_parse_profile, profile))} if profile else {}),
        )
        tolerance = tolerance_of(tolerances, tolerance_map, tolerance_rank, strict=strict)
    except ValueError as error:  # pydantic's have several lines
        raise typer.BadParameter(" ".join(str(error).split())) from None
    engines = None if engine == "none" else options
    chosen = tuple(one for one in PRECISIONS if one in precision) if precision else None
    output = model if is_bundle else output
    inputs = [path for path in (model, calibration, scales, verify, tolerances) if path is not None]
    _check_outputs([] if is_bundle else [output], inputs)
    _check_outputs([path for path in (triton, deepstream, timing_cache) if path is not None], [*inputs, output])
    if is_bundle:
        from reid.export.engines.add import EngineTrial

        trial = EngineTrial(_data_to_verify_on(verify, layout), tolerance, PostProcessing(expand_queries, rerank))
        result = _add_engines(model, chosen, engines, trial)
    else:
        from reid.export.bundle import ExportRequest
        from reid.runtime.files.storage import companion

        timed = _timed_engines(options) if objective == "latency" else None
        asked: CalibrationRequest | TrainedInt8 | None = None
        if int8:
            asked = _trained_int8(model, given=bool(calibration or scales)) or _int8_request(
                _calibration_data(calibration, layout, calibrate_on_evaluation_data),
                calibration_frames,
                ranges,
                scales,
                calibrate_on_evaluation_data,
                companion(output, "search.json"),
                timed,
            )
        data, post_processing = _data_to_verify_on(verify, layout), PostProcessing(expand_queries, rerank)
        request = ExportRequest(bool(fp16), asked, data, tolerance, post_processing, engines, chosen)
        result = _write(model, output, request)
    if hub_card:
        from reid.export.hub_card import add_hub_card

        result["hub_card"] = str(add_hub_card(output))
    if triton is not None:
        result["triton"] = _write_triton(output, triton)
    if deepstream is not None:
        result["deepstream"] = _write_deepstream(output, deepstream)
    if as_json:
        print_json({"bundle": str(output), **result})
    else:
        print_result(printable(output))


def _check_outputs(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Refuse before any work what would be written over or into what is read, or into the bundle."""
    from reid.runtime.files.storage import check_apart

    for output in outputs:
        check_apart(output, inputs)


def _parse_profile(text: str) -> Profile:
    from reid.runtime.engine_card import Profile

    sizes = [[whole_number(size, most=_LARGEST_SIZE) for size in part.split(",")] for part in text.split(":")]
    if [len(part) for part in sizes] != [3, 3] or None in chain(*sizes):
        raise ValueError(
            f"profile {text!r} is not MIN,BEST,MAX:MIN,BEST,MAX, each from 1 to {_LARGEST_SIZE:,}; "
            "write it like 1,32,32:1,8,32"
        )
    return Profile(*map(tuple, sizes))  # type: ignore[arg-type]  # three numbers each, as just checked


def _trained_int8(model: Path, *, given: bool) -> TrainedInt8 | None:
    """Return the INT8 request of a checkpoint of `reid-train --qat`, beside whose scales no others may be given."""
    from reid.export.int8.trained import TrainedInt8
    from reid.train.model.checkpoint import load_checkpoint

    quantization = load_checkpoint(model).model.quantization
    if quantization and given:
        raise typer.BadParameter(f"{model} was trained with INT8 scales: leave out --calibration and --scales")
    return TrainedInt8(quantization) if quantization else None


def _calibration_data(data: Path | None, layout: LayoutName | None, allow_evaluation_data: bool) -> Dataset:
    from reid.calibration.selection import open_calibration_data

    if data is None:
        raise typer.BadParameter(
            "--int8 needs --calibration DATA, a data set whose training split shows which values occur"
        )
    dataset = open_calibration_data(data, layout, allow_evaluation_data=allow_evaluation_data)
    note_problems(dataset)
    return dataset


def _data_to_verify_on(data: Path | None, layout: LayoutName | None) -> Dataset | None:
    from reid.data.layout import open_dataset

    if data is None:
        return None
    dataset = open_dataset(data, layout, needs="query")
    note_problems(dataset)
    return dataset


def _timed_engines(options: EngineOptions) -> EngineOptions:
    """Return the options to build engines with that are timed, where that is possible here."""
    from reid.export.int8.engine_time import check_timing

    check_timing(options)
    return options


def _int8_request(
    data: Dataset,
    frames: int,
    ranges: RangeMethod,
    scales: Path | None,
    allow_evaluation_data: bool,
    journal: Path,
    engines: EngineOptions | None,
) -> CalibrationRequest:
    from reid.calibration.amax import METHODS
    from reid.calibration.scales import ScaleFile
    from reid.export.int8.plan import CalibrationRequest

    return CalibrationRequest(
        data=data,
        frames=frames,
        methods=METHODS if ranges == "auto" else (ranges,),
        scales=ScaleFile.load(scales) if scales else None,
        journal=journal,
        allow_evaluation_data=allow_evaluation_data,
        engines=engines,
    )


def _write(model: Path, output: Path, request: ExportRequest) -> dict[str, Any]:
    from reid.evaluation.verification.sentences import data_sentence, engine_sentence
    from reid.export.bundle import write_bundle
    from reid.train.model.checkpoint import load_checkpoint

    with ProgressBar() as progress:
        export = write_bundle(load_checkpoint(model), output, request, progress)
    verification = export.verification
    if not verification.retrieval:
        logger.warning(
            "mAP and Rank-k were not verified, only embeddings of the reference crops; --verify DATA verifies both"
        )
    elif request.data is None:
        judged_on = data_sentence(verification.judged_on)
        logger.warning("judged on %s; to judge on a data set's queries and gallery, use --verify DATA", judged_on)
    log_verification(verification)
    return {
        "fingerprint": export.card.fingerprint,
        "opset": export.card.opset,
        "fp32": {"largest_difference": export.largest_difference},
        "verification": summary_of(verification),
        **({"int8": _int8_summary(export.int8)} if export.int8 else {}),
        "engines": [engine_sentence(one) for one in verification.engines],
        **({"data": request.data.facts()} if request.data else {}),
    }


def _int8_summary(record: Int8Record | TrainedInt8Record) -> dict[str, Any]:
    from reid.export.int8.record import Int8Record

    if not isinstance(record, Int8Record):
        return record.model_dump(mode="json")
    return {
        "judged_on": record.model_dump(mode="json")["judged_on"],
        "in_fp16": list(record.in_fp16),
        "int8_percent": record.int8_percent,
        "predicted_speedup": record.predicted_speedup,
        "judged_by": record.judged_by,
        "budget": record.budget,
        "objective": record.objective,
        "times": record.times.model_dump() if record.times else None,
        "evaluations": [
            {**evaluation.model_dump(mode="json"), "passed": evaluation.passed} for evaluation in record.evaluations
        ],
        "ranges": record.sensitivity.method_errors,
    }


def _add_engines(
    folder: Path, precisions: Sequence[Precision] | None, options: EngineOptions | None, trial: EngineTrial
) -> dict[str, Any]:
    """Add engines to a bundle, on the device that they are for; needs no PyTorch."""
    from reid.evaluation.verification.sentences import engine_sentence
    from reid.export.engines.add import add_engines
    from reid.runtime.bundle import Bundle

    bundle = Bundle.open(folder)
    engines = []
    if options is not None:
        with ProgressBar() as progress:
            engines = [*add_engines(bundle, precisions or bundle.precisions, options, progress, trial)]
    return {"fingerprint": bundle.card.fingerprint, "engines": [engine_sentence(one) for one in engines]}


def _write_triton(folder: Path, repository: Path) -> list[str]:
    from reid.export.graphs import check_graphs
    from reid.export.triton import engines_for_triton, write_triton_repository
    from reid.runtime.bundle import Bundle

    bundle = Bundle.open(folder)
    check_graphs(folder, bundle.precisions)
    engines = engines_for_triton(bundle)
    written = write_triton_repository(bundle, repository, precisions=bundle.precisions, engines=engines)
    return [str(path) for path in written]


def _write_deepstream(bundle: Path, folder: Path) -> list[str]:
    from reid.export.deepstream import write_deepstream_folder
    from reid.export.graphs import check_graphs
    from reid.runtime.bundle import Bundle

    opened = Bundle.open(bundle)
    check_graphs(bundle, opened.precisions)
    return [str(path) for path in write_deepstream_folder(opened, folder, opened.precisions)]


def main() -> None:
    """Entry point."""
    run(app)
