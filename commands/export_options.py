"""The options of `reid-export` that no other command has, and the rules between them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from reid.commands.options import EngineName, finite
from reid.runtime.precision import PRECISIONS

__all__ = [
    "DEFAULT_OUTPUT",
    "Calibration",
    "ComputeCapability",
    "DeepStreamFolder",
    "Engine",
    "EnginePrecisions",
    "Fp16",
    "HardwareCompatible",
    "HubCard",
    "Int8",
    "Model",
    "ObjectiveOption",
    "OptimizationLevel",
    "Output",
    "Profiles",
    "Scales",
    "Strict",
    "TimingCache",
    "ToleranceMap",
    "ToleranceRank",
    "Tolerances",
    "TritonRepository",
    "Verify",
    "VerifyExpandQueries",
    "VerifyRerank",
    "VersionCompatible",
    "Workspace",
    "check_rules",
]

DEFAULT_OUTPUT = Path("bundle")

_GRAPHS, _INT8, _VERIFICATION, _ENGINES = "Graphs", "INT8", "Verification", "Engines"
"""Panels of --help."""

_POST_PROCESSING = "--expand-queries and --rerank"

Model: TypeAlias = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A run or a checkpoint; or a bundle, to add engines to.")
]
Output: TypeAlias = Annotated[Path, typer.Option(help="Folder of the bundle.")]
Fp16: TypeAlias = Annotated[bool, typer.Option("--fp16", help="Also make the FP16 graph.", rich_help_panel=_GRAPHS)]
Int8: TypeAlias = Annotated[
    bool, typer.Option("--int8", help="Also make the INT8 graph; needs --calibration.", rich_help_panel=_GRAPHS)
]
Calibration: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="DATA", help="Data set whose training split INT8 is calibrated on.", rich_help_panel=_INT8),
]
Scales: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Scale file of reid-calibrate, to reuse its ranges.", rich_help_panel=_INT8),
]
ObjectiveOption: TypeAlias = Annotated[
    Literal["macs", "latency"],
    typer.Option(
        "--objective",
        help="What the search for INT8 minimizes: work in FP16, or the time of the engine on this GPU.",
        rich_help_panel=_INT8,
    ),
]
Verify: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DATA",
        help="Data set on which mAP and Rank-k are compared with PyTorch.",
        rich_help_panel=_VERIFICATION,
    ),
]
VerifyExpandQueries: TypeAlias = Annotated[
    int,
    typer.Option(
        "--expand-queries",
        metavar="K",
        min=0,
        max=1000,
        help="Also compare rankings of queries averaged with their K nearest gallery entries.",
        rich_help_panel=_VERIFICATION,
    ),
]
VerifyRerank: TypeAlias = Annotated[
    bool,
    typer.Option("--rerank", help="Also compare re-ranked rankings.", rich_help_panel=_VERIFICATION),
]
ToleranceMap: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0,
        max=100,
        callback=finite,
        help="How far mAP may fall, in percentage points.",
        rich_help_panel=_VERIFICATION,
    ),
]
ToleranceRank: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0,
        max=100,
        callback=finite,
        help="How far R-k may fall, in percentage points.",
        rich_help_panel=_VERIFICATION,
    ),
]
Tolerances: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="JSON file with map, rank, similarity and int8_similarity, instead of these options.",
        rich_help_panel=_VERIFICATION,
    ),
]
Strict: TypeAlias = Annotated[
    bool,
    typer.Option("--strict", help="Also refuse what so few queries cannot decide.", rich_help_panel=_VERIFICATION),
]
Engine: TypeAlias = Annotated[EngineName, typer.Option(help="Package to build engines with.", rich_help_panel=_ENGINES)]
EnginePrecisions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="|".join(PRECISIONS),
        help="Precision to build an engine for; may be repeated. [default: every graph's]",
        rich_help_panel=_ENGINES,
    ),
]
Profiles: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="MIN,BEST,MAX frames:MIN,BEST,MAX tracklets; may be repeated. [default: 1,32,32:1,8,32]",
        rich_help_panel=_ENGINES,
    ),
]
Workspace: TypeAlias = Annotated[
    int,
    typer.Option(min=1, max=2**20, help="Scratch memory of the engine builder, in MiB.", rich_help_panel=_ENGINES),
]
OptimizationLevel: TypeAlias = Annotated[
    int, typer.Option(min=0, max=5, help="0 builds fastest, 5 runs fastest.", rich_help_panel=_ENGINES)
]
TimingCache: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="File of measured kernels, which speeds up the next build.", rich_help_panel=_ENGINES),
]
HardwareCompatible: TypeAlias = Annotated[
    bool,
    typer.Option("--hardware-compatible", help="TensorRT: also run on later GPUs.", rich_help_panel=_ENGINES),
]
VersionCompatible: TypeAlias = Annotated[
    bool,
    typer.Option("--version-compatible", help="TensorRT: also run on later versions of it.", rich_help_panel=_ENGINES),
]
ComputeCapability: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="TensorRT-RTX: compute capability to build for, such as 8.9; may be repeated.", rich_help_panel=_ENGINES
    ),
]
TritonRepository: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="REPO", help="Also write a Triton model repository.", rich_help_panel=_ENGINES)
]
DeepStreamFolder: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--deepstream",
        metavar="DIR",
        help="Also write a folder for DeepStream: graphs and configuration files.",
        rich_help_panel=_ENGINES,
    ),
]
HubCard: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--hub-card", help="Also write README.md, the bundle's page on the Hugging Face hub. Nothing is uploaded."
    ),
]


def check_rules(given: Mapping[str, Any], is_bundle: bool) -> None:
    """Refuse options that contradict one another, and the most misleading of those that would be ignored.

    Args:
        given: the values of all options, by their names.
        is_bundle: whether MODEL is a bundle.

    Raises:
        BadParameter: the first rule that is broken, with what to do instead.
    """
    rules = (_rules_of_bundles if is_bundle else _rules_of_checkpoints)(given)
    for broken, message in chain(_rules_of_both(given), rules):
        if broken:
            raise typer.BadParameter(message)


def _rules_of_both(given: Mapping[str, Any]) -> Iterator[tuple[object, str]]:
    """Yield (whether a rule is broken, what to say then)."""
    unknown = next((one for one in given["precision"] or () if one not in PRECISIONS), None)
    yield unknown, f"unknown precision {unknown!r}; choose one of: {', '.join(PRECISIONS)}"
    builds = given["engine"] != "none"
    yield given["precision"] and not builds, "--precision names the engines to build: add --engine"
    file, others = given["tolerances"], (given["tolerance_map"], given["tolerance_rank"])
    holds_all = f"--tolerances {file} holds all tolerances: leave out --tolerance-map and --tolerance-rank"
    yield file and others != (0.5, 0.5), holds_all


def _rules_of_bundles(given: Mapping[str, Any]) -> Iterator[tuple[object, str]]:
    model, engine = given["model"], given["engine"]
    flags = [one for one in ("fp16", "int8") if given[one]]
    if flags:
        yield True, f"{model} is a bundle, whose graphs already exist; {_instead_of(flags, Path(model), engine)}"
    calibrates = given["calibration"] or given["scales"]
    yield calibrates, f"{model} is a bundle, whose graphs never change: calibrate its checkpoint"
    searches = f"{model} is a bundle, whose INT8 graph was found when it was made: leave out --objective"
    yield given["objective"] != "macs", searches
    verified = f"{model} is a bundle, whose graphs were verified when it was made: to verify them here, use reid-verify"
    yield given["verify"] and engine == "none", verified
    post_processed = given["rerank"] or given["expand_queries"]
    yield post_processed and not given["verify"], f"{_POST_PROCESSING} compare rankings: add --verify DATA"
    outputs = "--engine adds engines to it, --triton writes a repository, --deepstream a folder, --hub-card a page"
    writes = given["triton"] or given["deepstream"] or given["hub_card"]
    yield engine == "none" and not writes, f"{model} is a bundle: {outputs}"
    moves = Path(given["output"]) != DEFAULT_OUTPUT
    yield moves, f"{model} is a bundle, and engines are added to it in place: leave out --output"


def _instead_of(flags: list[str], model: Path, engine: EngineName) -> str:
    """Return what does work for a bundle instead of the flags that make a graph."""
    from reid.runtime.bundle import CARD_FILE, graph_file
    from reid.runtime.model_card import ModelCard

    files = ModelCard.read(model / CARD_FILE).files
    there = [one for one in PRECISIONS if one in flags and graph_file(one) in files]
    if len(there) < len(flags):
        missing = next(one for one in flags if one not in there)
        return f"for an {missing.upper()} graph, export its checkpoint with --{missing}"
    words = ["reid-export", str(model), *(word for one in there for word in ("--precision", one))]
    return "to build its engine: " + shlex.join([*words, "--engine", "tensorrt" if engine == "none" else engine])


def _rules_of_checkpoints(given: Mapping[str, Any]) -> Iterator[tuple[object, str]]:
    calibrates = given["calibration"] or given["scales"]
    yield calibrates and not given["int8"], "--calibration and --scales are for INT8: add --int8"
    yield given["objective"] != "macs" and not given["int8"], "--objective is for the search for INT8: add --int8"
    post_processed = given["rerank"] or given["expand_queries"]
    ranks = given["verify"] or given["int8"]
    yield post_processed and not ranks, f"{_POST_PROCESSING} compare rankings: add --verify DATA"
    made = {"fp32": True, "fp16": given["fp16"] or given["int8"], "int8": given["int8"]}
    missing = next((one for one in given["precision"] or () if not made.get(one)), None)
    yield missing, f"there is no {missing} graph to build an engine from: add --{missing}"
