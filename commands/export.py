"""`reid-export`: turn a checkpoint into a verified bundle, or add an engine to a bundle."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reid.commands.shell import Layout, application, note, note_problems, print_json, progress, run, stages

if TYPE_CHECKING:
    from reid.data.dataset import Dataset
    from reid.evaluation.verification.records import ProtocolComparison, Tolerance, Verification
    from reid.export.engines.steps import EngineOptions
    from reid.export.int8.plan import CalibrationRequest
    from reid.export.int8.record import Int8Record, TrainedInt8Record
    from reid.export.int8.trained import TrainedInt8
    from reid.runtime.model_card import ModelCard
    from reid.runtime.tensorrt_api import Flavor

app = application()

_OUTPUT = Path("bundle")


class Ranges(str, Enum):
    """What --ranges takes."""

    AUTO = "auto"
    MAX = "max"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"
    MSE = "mse"


class Engine(str, Enum):
    """What --engine takes."""

    NONE = "none"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


@app.command(epilog="Example: reid-export runs/latest --fp16 --verify VeRi --engine tensorrt-rtx")
def export(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A run or a checkpoint; or a bundle, to add an engine to.")
    ] = Path("runs/latest"),
    output: Annotated[Path, typer.Option(help="Folder of the bundle.")] = _OUTPUT,
    fp16: Annotated[bool, typer.Option("--fp16", help="Also make the FP16 graph, and its engine.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Also make the INT8 graph; needs --calibration.")] = False,
    calibration: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Data set whose training split INT8 is calibrated on.")
    ] = None,
    calibration_frames: Annotated[int, typer.Option(min=1, help="Frames to calibrate on.")] = 256,
    ranges: Annotated[Ranges, typer.Option(help="How INT8 ranges are chosen; auto measures it.")] = Ranges.AUTO,
    scales: Annotated[Path | None, typer.Option(metavar="FILE", help="Ranges from reid-calibrate, used again.")] = None,
    calibrate_on_evaluation_data: Annotated[
        bool, typer.Option("--calibrate-on-evaluation-data", help="Where there is no training split.")
    ] = False,
    verify: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Data set to compare mAP and Rank-k with PyTorch's on.")
    ] = None,
    layout: Annotated[Layout | None, typer.Option(help="Of DATA; recognized if left out.")] = None,
    tolerance_map: Annotated[float, typer.Option(min=0, help="How far mAP may fall, in points.")] = 0.5,
    tolerance_rank: Annotated[float, typer.Option(min=0, help="How far R-k may fall, in points.")] = 0.5,
    tolerances: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON with map, rank and similarity, instead of these.")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="Build engines with it.")] = Engine.NONE,
    profile: Annotated[
        list[str] | None,
        typer.Option(help="MIN,BEST,MAX frames:MIN,BEST,MAX tracklets; repeat it. [default: 1,32,32:1,8,32]"),
    ] = None,
    workspace: Annotated[int, typer.Option(min=1, help="Scratch memory of the engine builder, in MiB.")] = 4096,
    optimization_level: Annotated[int, typer.Option(min=0, max=5, help="Builds fast at 0, runs fast at 5.")] = 3,
    timing_cache: Annotated[Path | None, typer.Option(help="File that speeds up the next build.")] = None,
    hardware_compatible: Annotated[bool, typer.Option("--hardware-compatible", help="For other GPUs, too.")] = False,
    version_compatible: Annotated[bool, typer.Option("--version-compatible", help="For later TensorRT, too.")] = False,
    compute_capability: Annotated[list[str] | None, typer.Option(help="TensorRT-RTX: such as 8.9; repeat it.")] = None,
    triton: Annotated[Path | None, typer.Option(metavar="REPO", help="Also write a Triton model repository.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a bundle: fused graphs, held to PyTorch, with everything needed to run them.

    A graph outside tolerance ends in exit code 3 and no bundle; the report is then in OUTPUT.rejected.
    """
    from reid.export.engines.steps import EngineOptions
    from reid.runtime.bundle import CARD_FILE

    try:
        options = EngineOptions(
            workspace_mib=workspace,
            optimization_level=optimization_level,
            timing_cache=timing_cache,
            hardware_compatible=hardware_compatible,
            version_compatible=version_compatible,
            compute_capabilities=tuple(dict.fromkeys(compute_capability or ())),
            **({"profiles": tuple(map(_parse_profile, profile))} if profile else {}),
        )
        tolerance = _tolerance(tolerances, tolerance_map, tolerance_rank)
    except ValueError as error:  # pydantic's are of several lines
        raise typer.BadParameter(" ".join(str(error).split())) from None
    flavor: Any = None if engine is Engine.NONE else engine.value
    if (model / CARD_FILE).is_file():
        if verify or (flavor is None and triton is None):
            raise typer.BadParameter(
                f"{model} is a bundle: --engine adds an engine to it, --triton writes a repository"
            )
        if calibration or scales:
            raise typer.BadParameter(f"{model} is a bundle, and its graphs stay as they are: calibrate its checkpoint")
        if output != _OUTPUT:
            raise typer.BadParameter(f"{model} is a bundle, and gets its engines itself: leave out --output")
        result = _extend(model, fp16, int8, flavor, options)
        output = model
    else:
        request = None
        if not int8 and (calibration or scales):
            raise typer.BadParameter("--calibration and --scales are for INT8: add --int8")
        if int8:
            request = _trained_int8(model, given=bool(calibration or scales)) or _int8_request(
                calibration, layout, calibration_frames, ranges, scales, calibrate_on_evaluation_data, output
            )
        result = _write(model, output, fp16, request, verify, layout, tolerance, flavor, options)
    if triton is not None:
        result["triton"] = _write_triton(output, triton)
    if as_json:
        print_json({"bundle": str(output), **result})
    else:
        print(output)


def _parse_profile(text: str) -> Any:  # noqa: ANN401 - a Profile, whose module --help need not import
    from reid.runtime.engine_card import Profile

    sizes = [part.split(",") for part in text.split(":")]
    if [len(part) for part in sizes] != [3, 3] or not all(size.isdecimal() for part in sizes for size in part):
        raise ValueError(f"profile {text!r} is not MIN,BEST,MAX:MIN,BEST,MAX, such as 1,32,32:1,8,32")
    frames, tracklets = (tuple(map(int, part)) for part in sizes)
    return Profile(frames, tracklets)  # type: ignore[arg-type]  # three each, as just checked


def _tolerance(file: Path | None, tolerance_map: float, tolerance_rank: float) -> Tolerance:
    from reid.evaluation.verification.records import Tolerance
    from reid.evaluation.verification.tolerances import read_tolerance

    given = Tolerance(map=tolerance_map, rank=tolerance_rank)
    if file is None:
        return given
    if given != Tolerance():
        raise ValueError(f"--tolerances {file} holds all tolerances: leave out --tolerance-map and --tolerance-rank")
    return read_tolerance(file)


def _trained_int8(model: Path, *, given: bool) -> TrainedInt8 | None:
    """Look into a checkpoint for the scales of `reid-train --qat`, with which none must be given."""
    from reid.export.int8.trained import TrainedInt8
    from reid.train.model.checkpoint import load_checkpoint

    quantization = load_checkpoint(model).model.quantization
    if quantization and given:
        raise typer.BadParameter(f"{model} was trained with INT8 scales: leave out --calibration and --scales")
    return TrainedInt8(quantization) if quantization else None


def _int8_request(
    calibration: Path | None,
    layout: Layout | None,
    frames: int,
    ranges: Ranges,
    scales: Path | None,
    allow_evaluation_data: bool,
    output: Path,
) -> CalibrationRequest:
    from reid.calibration.amax import METHODS
    from reid.calibration.scales import ScaleFile
    from reid.calibration.selection import open_calibration_data
    from reid.export.int8.plan import CalibrationRequest

    if calibration is None:
        raise typer.BadParameter("--int8 needs --calibration DATA, whose training split shows it what values occur")
    data = open_calibration_data(
        calibration, layout.value if layout else None, allow_evaluation_data=allow_evaluation_data
    )
    note_problems(data)
    return CalibrationRequest(
        data=data,
        frames=frames,
        methods=METHODS if ranges is Ranges.AUTO else (ranges.value,),
        scales=ScaleFile.load(scales) if scales else None,
        journal=output.with_name(f"{output.name}.search.json"),
        allow_evaluation_data=allow_evaluation_data,
    )


def _write(
    model: Path,
    output: Path,
    fp16: bool,
    int8: CalibrationRequest | TrainedInt8 | None,
    verify: Path | None,
    layout: Layout | None,
    tolerance: Tolerance,
    flavor: Flavor | None,
    options: EngineOptions,
) -> dict[str, Any]:
    from reid.data.layout import open_dataset
    from reid.export.bundle import write_bundle
    from reid.export.watcher import Watcher
    from reid.train.model.checkpoint import load_checkpoint

    data: Dataset | None = None
    if verify is not None:
        data = open_dataset(verify, layout, needs="query")
        note_problems(data)

    def add(folder: Path, card: ModelCard, verification: Verification) -> tuple[str, ...]:
        kept = {one.precision: one.kept_in_fp32 for one in verification.precisions}
        return _build(folder, card, kept, flavor, options)

    with stages() as on_progress:
        export = write_bundle(
            load_checkpoint(model),
            output,
            half=fp16,
            int8=int8,
            data=data,
            tolerance=tolerance,
            add=add,
            watcher=Watcher(on_progress, note),
        )
    if data is None and "layout" in export.verification.data:
        note(f"note: judged on {export.verification.data['layout']}; --verify DATA judges on queries and gallery")
    elif data is None:
        note("note: mAP and Rank-k were not verified, only embeddings of the reference crops; --verify DATA does both")
    _note_verification(export.verification)
    return {
        "fingerprint": export.card.fingerprint,
        "opset": export.card.opset,
        "fp32": {"largest_difference": export.largest_difference},
        "verification": _summary(export.verification),
        **({"int8": _int8_summary(export.int8)} if export.int8 else {}),
        "engines": list(export.verification.engines),
    }


def _summary(verification: Verification) -> dict[str, Any]:
    """Leave out what only the stored file and the report have room for."""
    result = verification.model_dump(mode="json")
    for precision in result["precisions"]:
        for long in ("worst_queries", "drift"):
            del precision[long]
        for long in ("counts", "edges"):
            del precision["similarity"][long]
    return result


def _int8_summary(record: Int8Record | TrainedInt8Record) -> dict[str, Any]:
    from reid.export.int8.record import Int8Record

    if not isinstance(record, Int8Record):
        return record.model_dump(mode="json")
    return {
        "judged_on": record.model_dump(mode="json")["judged_on"],
        "in_fp16": list(record.in_fp16),
        "int8_percent": record.int8_percent,
        "predicted_speedup": record.predicted_speedup,
        "evaluations": [
            {**evaluation.model_dump(mode="json"), "passed": evaluation.passed} for evaluation in record.evaluations
        ],
        "ranges": record.sensitivity.method_errors,
    }


def _extend(folder: Path, fp16: bool, int8: bool, flavor: Flavor | None, options: EngineOptions) -> dict[str, Any]:
    """Add engines to a bundle, on the device that they are for; needs no PyTorch."""
    from reid.evaluation.verification.records import VERIFICATION_FILE, Verification
    from reid.runtime.bundle import Bundle

    bundle = Bundle.open(folder)
    verification = Verification.model_validate_json((folder / VERIFICATION_FILE).read_bytes())
    kept = {one.precision: one.kept_in_fp32 for one in verification.precisions}
    precisions = ("fp32", *(["fp16"] if fp16 else []), *(["int8"] if int8 else []))
    _check_graphs(folder, precisions)
    engines = _build(folder, bundle.card, {precision: kept[precision] for precision in precisions}, flavor, options)
    return {"fingerprint": bundle.card.fingerprint, "engines": list(engines)}


def _check_graphs(folder: Path, precisions: Sequence[str]) -> None:
    """Open graphs, which checks hashes and embeddings: nothing is made from what is not what was verified."""
    from reid.runtime.sessions.session import open_session

    for precision in precisions:
        open_session(folder, "onnxruntime:cpu", precision).close()


def _build(
    folder: Path,
    card: ModelCard,
    kept_in_fp32: Mapping[str, Mapping[str, float]],
    flavor: Flavor | None,
    options: EngineOptions,
) -> tuple[str, ...]:
    """Build an engine of each precision into a bundle's folder, and say of each what it is."""
    from reid.export.engines.build import build_engine
    from reid.runtime.bundle import ENGINES_FOLDER, graph_file

    if flavor is None:
        return ()
    sentences = []
    for precision, kept in kept_in_fp32.items():
        with progress(f"building {precision} engine", "steps") as on_progress:
            engine = build_engine(
                folder / graph_file(precision),
                folder / ENGINES_FOLDER,
                card,
                precision,
                flavor,
                options,
                build_command=_build_command(precision, flavor, options),
                on_progress=on_progress,
                kept_in_fp32=kept,
            )
        layers = ", ".join(f"{count} in {name}" for name, count in engine.layers.layers.items())
        run_here = "the session checks it when it opens" if engine.layers.source == "engine" else "not run: no GPU here"
        what = f"{precision} for {engine.device} by {flavor} {engine.version}"
        sentences.append(f"{what}; layers {layers}, by the {engine.layers.source}; {run_here}")
        note(f"engine: {sentences[-1]}")
    return tuple(sentences)


def _build_command(precision: str, flavor: Flavor, options: EngineOptions) -> str:
    """Give the command line that builds an engine again, with BUNDLE where the bundle's path goes."""
    words = ["reid-export", "BUNDLE", "--engine", flavor, *([f"--{precision}"] if precision != "fp32" else [])]
    for one in options.profiles:
        words += ["--profile", ":".join(",".join(map(str, sizes)) for sizes in (one.frames, one.tracklets))]
    words += ["--workspace", str(options.workspace_mib), "--optimization-level", str(options.optimization_level)]
    if options.timing_cache:
        words += ["--timing-cache", str(options.timing_cache)]
    words += ["--hardware-compatible"] if options.hardware_compatible else []
    words += ["--version-compatible"] if options.version_compatible else []
    for capability in options.compute_capabilities:
        words += ["--compute-capability", capability]
    return shlex.join(words)


def _write_triton(bundle_folder: Path, repository: Path) -> list[str]:
    from reid.export.triton import write_triton_repository
    from reid.runtime.bundle import ENGINES_FOLDER, Bundle
    from reid.runtime.engine_card import EngineCard

    bundle = Bundle.open(bundle_folder)
    _check_graphs(bundle_folder, bundle.precisions)
    sidecars = sorted((bundle_folder / ENGINES_FOLDER).glob("*.json"))
    cards = {path: EngineCard.parse(path.read_bytes(), path) for path in sidecars}
    # Triton has no backend for TensorRT-RTX.
    engines = [path.with_suffix(".engine") for path, card in cards.items() if card.flavor == "tensorrt"]
    written = write_triton_repository(bundle, repository, precisions=bundle.precisions, engines=engines)
    return [str(path) for path in written]


def _note_verification(verification: Verification) -> None:
    first = verification.precisions[0]
    if first.unreadable:
        names = ", ".join(first.unreadable[:3])
        note(f"note: {len(first.unreadable)} frames could not be read and were left out: {names}")
    if first.queries_left_out:
        note(f"note: {len(first.queries_left_out)} queries could not be read and are not counted")
    for one in verification.precisions:
        for comparison in one.protocols:
            metrics = (
                f"{name} {comparison.candidate[name]:.2f} ({points:+.2f})" for name, points in _points(comparison)
            )
            changed = f"first match changed for {comparison.first_match_changed:.1f} % of {comparison.queries} queries"
            note(f"{one.precision} {comparison.protocol}: {', '.join(metrics)}; {changed}")
        note(f"{one.precision}: smallest cosine similarity to PyTorch {one.similarity.levels[0].minimum:.6f}")
        if one.kept_in_fp32:
            note(f"{one.precision}: {len(one.kept_in_fp32)} layers stay in FP32: {', '.join(one.kept_in_fp32)}")


def _points(comparison: ProtocolComparison) -> list[tuple[str, float]]:
    return [(name, round(points, 2) + 0.0) for name, points in comparison.difference.items()]  # no "-0.00"


def main() -> None:
    """Entry point."""
    run(app)
