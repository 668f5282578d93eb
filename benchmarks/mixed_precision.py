"""The search for a mix of INT8 and FP16, beside NNCF's `quantize_with_accuracy_control`, at equal tolerance.

Both put as much of a model into INT8 as the largest permitted fall of mAP allows, on the same model, calibration
frames, queries and gallery, and both are judged by OpenVINO on a CPU. NNCF runs in an environment of its own, which has
nothing of `reid`, and its validation function is a plain reimplementation of mAP (`nncf_peer.py`)::

    python -m venv nncf && nncf/bin/pip install nncf openvino
    python benchmarks/mixed_precision.py runs/latest VeRi --nncf-python nncf/bin/python \
        --json benchmarks/results/mixed_precision.json

NNCF takes one number: it is given the change of the protocol whose mAP falls most. What it leaves is in FP32; `reid`
leaves FP16, which OpenVINO computes in FP32 on a CPU, and also holds embeddings to a similarity, R-k to a paired test,
and the final graph to ONNX Runtime. An evaluation is one pass over all queries and gallery frames. NNCF makes one of
FP32, one of INT8, and one for each group of layers that it returns; before these it ranks all groups, on outputs of 300
batches at most. Minutes are those of ranges, sensitivity, search and the last comparison; NNCF's are those of its call.
The three models are timed as `reid-bench` does it, by NNCF's OpenVINO.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nncf_peer import BATCH
from numpy.typing import NDArray
from result_files import command, environment, markdown_table, script_parser, write_result

from reid.bench.estimates import estimate
from reid.bench.process import start_host
from reid.bench.records import Estimate
from reid.bench.report.numbers import estimated
from reid.bench.rounds import take_rounds
from reid.calibration.selection import open_calibration_data
from reid.data.dataset import Dataset
from reid.data.layout import open_dataset
from reid.evaluation.protocols import PROTOCOLS
from reid.evaluation.verification.records import PrecisionVerification, Tolerance
from reid.export.bundle import ExportRequest, write_bundle
from reid.export.int8.plan import CalibrationPlan, CalibrationRequest
from reid.export.int8.record import Int8Record
from reid.runtime.bundle import graph_file
from reid.runtime.errors import ReidError
from reid.runtime.imaging import as_model_input, read_frame
from reid.runtime.model_card import ModelCard
from reid.runtime.tracklet import Tracklet
from reid.train.model.checkpoint import load_checkpoint

CALIBRATION_FRAMES = 256
PEER = Path(__file__).with_name("nncf_peer.py")
MODELS = {"fp32": "fp32.onnx", "nncf": "nncf.xml", "reid": "int8.onnx"}
"""The models that are timed, by name, and their files."""
WARM_UP_S, TURN_S, TIMED_S = 10.0, 0.25, 60.0


def main() -> None:
    """Run both, print the table and write the result."""
    options = parse()
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = run(options, Path(folder))
    except ReidError as error:
        sys.exit(f"error: {error}")
    print(table(result), end="")
    if options.json:
        write_result(options.json, result, table(result))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="run of reid-train")
    parser.add_argument("data", type=Path, metavar="DATA", help="data set to calibrate and to judge on")
    parser.add_argument("--nncf-python", type=Path, required=True, help="Python of an environment with nncf, openvino")
    parser.add_argument("--tolerance", type=float, default=0.5, help="how far mAP may fall, in points [default: 0.5]")
    return parser.parse_args()


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run both on the same frames; return the figures."""
    checkpoint, calibration = load_checkpoint(options.run), open_calibration_data(options.data)
    data, clock = open_dataset(options.data, needs="query"), Clock()
    request = CalibrationRequest(calibration, frames=CALIBRATION_FRAMES)
    tolerance = Tolerance(map=options.tolerance, rank=100)
    asked = ExportRequest(int8=request, data=data, tolerance=tolerance)
    export = write_bundle(checkpoint, folder / "bundle", asked, clock)
    seconds = clock.seconds_since("calibrating")
    assert isinstance(export.int8, Int8Record)
    frames = CalibrationPlan.of(request, checkpoint.card).choose_frames(CALIBRATION_FRAMES)
    np.save(folder / "calibration.npy", np.concatenate(list(frames.batches(checkpoint.card.preprocessing))))
    for precision in ("fp32", "int8"):
        (folder / "bundle" / graph_file(precision)).rename(folder / f"{precision}.onnx")
    protocols = write_data(folder, data, checkpoint.card)
    (folder / "settings.json").write_text(json.dumps({"tolerance": options.tolerance}))
    python = options.nncf_python.absolute()
    peer = run_peer(python, folder)
    own = {
        "seconds": round(seconds, 1),
        "evaluations": len(export.int8.evaluations),
        "int8_percent": round(export.int8.int8_percent, 1),
        "judged_by": export.int8.judged_by,
    }
    return {
        "command": command(),
        "model": {"backbone": checkpoint.card.backbone, "image_size": checkpoint.card.preprocessing.height},
        "data": {"query_images": len(data.query.images), "gallery_images": len(data.gallery.images)},
        "protocols": protocols,
        "environment": environment(),
        "reid": own,
        "nncf": {name: peer[name] for name in ("version", "openvino", "seconds", "evaluations", "int8_percent")},
        "mAP": peer["mAP"],
        "noise": noise(export.verification.precisions[-1]),
        "frames_per_s": {name: one.model_dump() for name, one in speeds(python, folder).items()},
    }


@dataclass(slots=True)
class Clock:
    """A progress that remembers when each stage began."""

    began: dict[str, float] = field(default_factory=dict)

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        """See Progress.begin."""
        self.began.setdefault(stage, time.perf_counter())

    def advance(self, steps: int = 1) -> None:
        """See Progress.advance."""

    def seconds_since(self, stage: str) -> float:
        """Return the time since a stage first began."""
        return time.perf_counter() - self.began[stage]


def write_data(folder: Path, data: Dataset, card: ModelCard) -> list[str]:
    """Write every frame once, and the protocols by the numbers of the frames; return the protocols' names."""
    shown = [*data.query.images, *data.query.tracklets, *data.gallery.images, *data.gallery.tracklets]
    names = sorted({str(frame) for one in shown for frame in one.frames})
    position = {name: index for index, name in enumerate(names)}
    size = card.preprocessing
    frames = np.stack([as_model_input(read_frame(Path(name)), size) for name in names])
    np.save(folder / "frames.npy", frames)
    for protocol in PROTOCOLS.values():
        query, gallery = getattr(data.query, protocol.query), getattr(data.gallery, protocol.gallery)
        sides = {"query": facts(query, position), "gallery": facts(gallery, position)}
        arrays = {side + what: array for side, found in sides.items() for what, array in found.items()}
        np.savez(folder / f"{protocol.name}.npz", **arrays)
    return list(PROTOCOLS)


def facts(rows: Sequence[Tracklet], position: dict[str, int]) -> dict[str, NDArray[Any]]:
    """Return what nncf_peer.mean_average_precision takes of each tracklet: its frames' numbers, vehicle and camera."""
    frames = np.full((len(rows), max(len(row.frames) for row in rows)), -1, np.int64)
    for index, row in enumerate(rows):
        frames[index, : len(row.frames)] = [position[str(frame)] for frame in row.frames]
    vehicles, cameras = [str(row.vehicle) for row in rows], [str(row.camera) for row in rows]
    return {"": frames, "_vehicle": np.array(vehicles), "_camera": np.array(cameras)}


def noise(verified: PrecisionVerification) -> float:
    """Return half the widest 95 % paired interval of a protocol's change of mAP, in points."""
    intervals = [one.change("mAP").interval for one in verified.protocols]
    return round(max(high - low for low, high in intervals) / 2, 2)


def run_peer(python: Path, folder: Path) -> dict[str, Any]:
    """Run NNCF in its own environment; return what it found.

    Raises:
        ReidError: it failed.
    """
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, PEER, folder], env=variables, stdout=sys.stderr, check=False)
    if done.returncode:
        raise ReidError(f"{python} {PEER.name} ended with exit code {done.returncode}; its output is above")
    found: dict[str, Any] = json.loads((folder / "nncf.json").read_text())
    return found


def speeds(python: Path, folder: Path) -> dict[str, Estimate]:
    """Return the frames per second of each of MODELS, which take turns in processes of NNCF's environment.

    Raises:
        SubjectError: one of them fails.
    """
    with ExitStack() as processes:
        hosts = {name: processes.enter_context(start_host(f"{PEER}:open_model", python=python)) for name in MODELS}
        for name, host in hosts.items():
            host.open(folder / MODELS[name], folder / "frames.npy")
            host.warm_up(BATCH, WARM_UP_S)
        rounds = take_rounds([*hosts], lambda name: hosts[name].turn(BATCH, TURN_S), seconds=TIMED_S)
    return {
        name: estimate([BATCH * len(turn.wall_ms) / turn.wall_s for turn in turns if turn])
        for name, turns in rounds.items()
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown, below the command that made them."""
    names = [name for name in result["protocols"] if name in result["mAP"]["fp32"]]
    head = ["", "evaluations", "minutes", "work in INT8", *(f"{name.upper()} mAP" for name in names), "frames/s"]
    shown = {"FP32": ("fp32", {}), "reid": ("reid", result["reid"]), "NNCF": ("nncf", result["nncf"])}
    rows = [row(title, figures, name, result, names) for title, (name, figures) in shown.items()]
    model, data = result["model"], result["data"]
    facts = (
        f"`{result['command']}`: {model['backbone']} at {model['image_size']} pixels, {data['query_images']} queries, "
        f"{data['gallery_images']} gallery images; NNCF {result['nncf']['version']}. All three run in OpenVINO, in "
        "batches of 8, in turns."
    )
    if "noise" in result:
        facts += (
            f" With so many queries, the 95 % paired interval of reid's change is up to ±{result['noise']:g} points."
        )
    return f"{facts}\n\n{markdown_table(head, rows)}"


def row(title: str, figures: dict[str, Any], name: str, result: dict[str, Any], protocols: Sequence[str]) -> list[str]:
    """Return a row of the table: a mAP with its change from FP32."""
    maps, before = result["mAP"][name], result["mAP"]["fp32"]
    speed = estimated(Estimate(**result["frames_per_s"][name]))
    if not figures:
        return [title, "", "", "", *(f"{maps[one]:.2f}" for one in protocols), speed]
    cost = [str(figures["evaluations"]), f"{figures['seconds'] / 60:.1f}", f"{figures['int8_percent']:.1f} %"]
    return [title, *cost, *(f"{maps[one]:.2f} ({maps[one] - before[one]:+.2f})" for one in protocols), speed]


if __name__ == "__main__":
    main()
