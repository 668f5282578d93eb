"""`reid-bench`: what each session and precision is worth on this machine."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.commands.options import MODEL, OUTPUT, AsJson, finite, whole_number
from reid.commands.shell import ProgressBar, application, print_json, run
from reid.commands.terminal import print_result, print_tables
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reid.bench.models import GivenModel
    from reid.bench.result import Settings

app, compare_app = application(), application()

METHOD = "Method"

_LARGEST_BATCH = 4096


@app.command(epilog="Example: reid-bench bundle   Then: reid-bench compare before/bench.json after/bench.json")
def bench(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="MODEL", help="Bundles, .onnx files, runs or checkpoints. [default: bundle]"),
    ] = None,
    session: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SESSION",
            help="Session to measure, with its device after a colon if wanted; may be repeated. [default: all]",
            rich_help_panel=MODEL,
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(PRECISIONS),
            help="Precision to measure; may be repeated. [default: all]",
            rich_help_panel=MODEL,
        ),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PYTHON:SCRIPT",
            help="Peer of your own, in an environment of its own; may be repeated.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    peers: Annotated[
        bool, typer.Option(help="Measure what a user would take instead, where it works here.", rich_help_panel=MODEL)
    ] = True,
    batches: Annotated[
        str, typer.Option("--batch", metavar="N,N,...", help="Batch sizes.", rich_help_panel=METHOD)
    ] = "1,4,8,16,32",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="CPU threads of each subject. [default: OMP_NUM_THREADS, or all usable cores]",
            rich_help_panel=METHOD,
        ),
    ] = None,
    minutes: Annotated[
        float,
        typer.Option(min=0.01, max=1440, callback=finite, help="How long to measure.", rich_help_panel=METHOD),
    ] = 5.0,
    latency_limit: Annotated[
        float,
        typer.Option(
            metavar="MS",
            min=0.1,
            max=60_000,
            callback=finite,
            help="Latency that 99 of 100 crops must keep, in ms.",
            rich_help_panel=METHOD,
        ),
    ] = 100.0,
    camera_rate: Annotated[
        float,
        typer.Option(
            metavar="CROPS",
            min=0.001,
            max=100_000,
            callback=finite,
            help="Crops that one camera sends in a second.",
            rich_help_panel=METHOD,
        ),
    ] = 10.0,
    predict: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE",
            help="Predict the speed on a device that is not here instead of measuring; may be repeated.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for bench.json, tables and report.html.", rich_help_panel=OUTPUT)
    ] = Path("bench"),
    as_json: AsJson = False,
) -> None:
    """Measure every session and precision that works here, side by side.

    All take turns in one run, each in a process of its own. What a model is worth is taken from its verification.
    """
    from reid.bench.measure import Plan, measure
    from reid.bench.models import read_model
    from reid.bench.peers.find import find_peers
    from reid.bench.peers.foreign import foreign_peer
    from reid.bench.recommendation import choose
    from reid.bench.report.files import PAGE_FILE, write_result
    from reid.bench.report.table import as_renderables
    from reid.bench.subjects import find_sessions, with_own_names
    from reid.runtime.errors import SessionError
    from reid.runtime.files.manifest import replaceable_directory

    paths = list(dict.fromkeys(models or [Path("bundle")]))
    settings = _settings(batches, threads, minutes, latency_limit, camera_rate)
    wanted = _precisions(precision)
    given = [read_model(path) for path in paths]
    if predict:
        with_graph = next((one for one in given if one.kind != "checkpoint"), given[0])
        _predict(with_graph, wanted, predict, settings.batches, as_json=as_json)
        return
    sessions = find_sessions(given, session or (), wanted)
    others, absent = find_peers(given) if peers else ([], [])
    own = [foreign_peer(text, given) for text in peer or ()]
    candidates = with_own_names([*sessions, *others, *own])
    plan = Plan(given, candidates, absent, settings, shlex.join(["reid-bench", *sys.argv[1:]]))
    # Opening the folder first finds out before the work whether it can be written.
    with replaceable_directory(output, inputs=paths) as folder:
        with ProgressBar() as progress:
            result = measure(plan, progress)
        write_result(folder, result, f"reid-bench {paths[0].absolute().name}")
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        print_tables(*as_renderables(result), printable(output / PAGE_FILE))
    if choose(result).taken is None:
        raise SessionError(f"no session works here as it should; see {output / PAGE_FILE}")


def _precisions(names: Sequence[str] | None) -> list[Precision]:
    if unknown := [one for one in names or () if one not in PRECISIONS]:
        raise typer.BadParameter(
            f"unknown precision {unknown[0]!r}; choose one of: {', '.join(PRECISIONS)}", param_hint="'--precision'"
        )
    return [one for one in PRECISIONS if one in (names or ())]


def _settings(batches: str, threads: int | None, minutes: float, limit: float, rate: float) -> Settings:
    from reid.bench.result import Settings
    from reid.runtime.sessions.threads import thread_limit

    sizes = [whole_number(word.strip(), most=_LARGEST_BATCH) for word in batches.split(",")]
    if None in sizes:
        raise typer.BadParameter(
            f"{batches[:40]!r} is no list of batch sizes from 1 to {_LARGEST_BATCH}, such as 1,8,32.",
            param_hint="'--batch'",
        )
    return Settings(
        batches=tuple(sorted({size for size in sizes if size})),
        threads=threads or thread_limit() or _usable_cores(),
        minutes=minutes,
        latency_limit_ms=limit,
        camera_frames_per_s=rate,
    )


def _usable_cores(root: str = "/") -> int:
    """Return how many threads can run at once: those of the cores, as far as the control group's quota permits."""
    from reid.bench.meters.cgroups import quota_cores
    from reid.bench.meters.cpu_time import usable_cpus
    from reid.bench.meters.tree import Tree

    tree = Tree(root)
    cores = len(usable_cpus(tree)) or os.cpu_count() or 1
    return max(1, min(cores, int(quota_cores(tree) or cores)))


def _predict(
    model: GivenModel, wanted: Sequence[Precision], devices: Sequence[str], batches: Sequence[int], *, as_json: bool
) -> None:
    """Print what a model's graphs would take on other devices."""
    from reid.bench.costs.devices import find_known_device
    from reid.bench.costs.efficiency import leave_one_out
    from reid.bench.costs.graph import graph_cost
    from reid.bench.costs.predict import predict
    from reid.bench.costs.sentences import how_well_predicted, prediction_lines
    from reid.runtime.errors import ModelError

    known = [find_known_device(name) for name in dict.fromkeys(devices)]
    graphs = model.graphs()
    if not graphs:
        raise ModelError(f"{model.path} has no graph whose operations could be counted; export it and give the bundle")
    if absent := [precision for precision in wanted if precision not in graphs]:
        raise ModelError(f"{model.path} has no {absent[0]} graph; choose one of: {', '.join(graphs)}")
    costs = {precision: graph_cost(graphs[precision]) for precision in wanted or graphs}
    found = {
        device.name: [predict(cost, device, precision, batch) for precision, cost in costs.items() for batch in batches]
        for device in known
    }
    if as_json:
        predicted = {name: [one.model_dump(mode="json") for one in of_device] for name, of_device in found.items()}
        print_json({"predicted": predicted, "checked_on": how_well_predicted(leave_one_out())})
    else:
        lines = [line for device in known for line in prediction_lines(device, found[device.name])]
        print_result("\n".join([*how_well_predicted(leave_one_out()), *lines]))


@compare_app.command(epilog="Example: reid-bench compare before/bench.json after/bench.json")
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A bench.json, or the folder that holds it.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another one.")],
    as_json: AsJson = False,
) -> None:
    """Say what changed beyond noise between two results, of one machine or of two.

    Exit code 3 says that something became slower or finds less.
    """
    from reid.bench.compare import compare as compared
    from reid.bench.reading import read_result
    from reid.bench.report.comparison import renderables_of
    from reid.runtime.errors import GateError

    found = compared(read_result(before), read_result(after))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_tables(*renderables_of(found))
    if found.regressed:
        raise GateError(f"{after} is worse than {before}")


def main() -> None:
    """Entry point."""
    if sys.argv[1:2] == ["compare"]:
        sys.argv = ["reid-bench compare", *sys.argv[2:]]
        run(compare_app)
    run(app)
