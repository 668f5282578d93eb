r"""Time a bundle's graphs on a CPU beside PyTorch: what INT8 is worth where there is no GPU.

The peer is PyTorch eager FP32, which is what a checkpoint runs on if nobody exports it. Against it run the FP32, FP16
and INT8 graphs in the sessions that are installed, through the project's own classes: uint8 frames go in, embeddings
come out, and what is timed is what a user gets.

A ratio between two runtimes is easily wrong, so:

- *Same threads.* Every session has a process of its own, started with OMP_NUM_THREADS: no two libraries share a pool,
  and the threads that one leaves spinning are gone before the next is asked. The process's CPU time over the clock's
  stands beside each figure as `cores`: above the number of threads the comparison is unfair, and far below it the
  machine was busy with other things.
- *Same moment.* The sessions take turns, one batch each (A B C A B C), because a shared machine changes speed from one
  second to the next. The ratio is the median of the rounds' ratios, and the best round shows what the machine can do.
- *Two clocks.* The ratio of CPU times is written, too, which depends less on what else the machine does.
- *No spinning.* OMP_WAIT_POLICY is passive. PyTorch's threads would else spin while they wait for one that a busy
  machine does not run, which has cost it more than half of its speed and flattered everything else.
- *Same answer.* The smallest cosine similarity to PyTorch's embeddings stands beside each speed. It guards against a
  graph that is fast because it is wrong; how accurate INT8 is can only be said of a trained model, by `reid-export`.

Speed does not hang on the weights' values, so without --run the model is a ResNet50 of three levels with random ones.
Its batch normalization is set by rendered vehicles, so that its values are as large as a trained model's. The INT8
graph is made as `reid-export --int8` makes it, FP16 around it, with every layer in INT8 and no search::

    python benchmarks/int8_cpu.py --threads 1 2 --json benchmarks/results/int8_cpu.json

How to read it: INT8 gains from VNNI, which multiplies and adds four INT8 pairs per lane at once; `vnni` in the
result says whether the CPU has it. OpenVINO runs the whole Q/DQ graph in INT8. ONNX Runtime's CPU provider fuses a
layer to INT8 only where its output is quantized as well, and in FP32; the graph that TensorRT fuses is not like that:
its pairs are computed one by one, slower than the FP32 graph. Neither computes in FP16 here: they widen it, and
only the file is smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import distributions
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:  # what counts threads when it is imported is imported in the processes that are timed
    import numpy as np
    from numpy.typing import NDArray

    from reid.calibration.selection import CalibrationSet
    from reid.runtime.sessions.session import Session
    from reid.train.model.checkpoint import Checkpoint

PEER = "torch eager fp32"
SESSIONS = (
    PEER,
    *(
        f"{name} {precision}"
        for name in ("onnxruntime", "openvino")
        if find_spec(name)
        for precision in ("fp32", "fp16", "int8")
    ),
)
METHOD: Final = "mse"
CALIBRATION_FRAMES = 32
PACKAGES = ("numpy", "torch", "onnxruntime", "onnxruntime-gpu", "openvino")

Rows: TypeAlias = "dict[str, dict[str, float]]"
"""Session -> its figures."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One batch: its frames, and the seconds on the clock and of the process's CPU time."""

    frames: int
    wall: float
    busy: float

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.wall


def main() -> None:
    """Make the graphs, time every session at every number of threads, and print a table for each."""
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        before = os.getloadavg()[0]
        with in_own_process() as pool:
            model = pool.submit(prepare, Path(folder), options.run, options.image_size).result()
        checkpoint = options.run or Path(folder) / "run"
        results = {}
        for threads in options.threads:
            results[threads] = measure(checkpoint, Path(folder), threads, options.batch, options.rounds)
            show(results[threads], threads, options.batch)
    if options.json:
        facts = machine() | {"load_before": before, "load_after": os.getloadavg()[0]}
        record = {"command": command(options), "machine": facts, "model": model, "threads": results}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="of reid-train; left out, a ResNet50 with random weights")
    parser.add_argument("--image-size", type=int, default=256, help="of the random model")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=8, help="frames at once")
    parser.add_argument("--rounds", type=int, default=15, help="batches of each session")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    return parser.parse_args()


def prepare(folder: Path, run: Path | None, image_size: int) -> dict[str, object]:
    """Leave checkpoint, frames and the three graphs in a folder, and return what was made."""
    import numpy as np

    from reid.calibration.selection import select_frames
    from reid.data.layout import open_dataset
    from reid.data.synthesis.veri import synthesize
    from reid.train.model.checkpoint import load_checkpoint

    synthesize(folder / "data", vehicles=20, cameras=4)
    frames = select_frames(open_dataset(folder / "data", needs="train"), CALIBRATION_FRAMES, seed=0)
    checkpoint = load_checkpoint(run) if run else random_checkpoint(folder / "run", image_size, frames)
    np.save(folder / "frames.npy", np.concatenate(list(frames.batches(checkpoint.card.preprocessing))))
    share = write_graphs(folder, checkpoint, frames)
    return {
        "backbone": checkpoint.card.backbone,
        "levels": [level.name for level in checkpoint.card.levels],
        "image_size": checkpoint.card.preprocessing.height,
        "weights": "trained" if run else "random",
        "calibration": f"{CALIBRATION_FRAMES} rendered frames, ranges by {METHOD}",
        "int8_share": round(100 * share, 2),
    }


def random_checkpoint(run: Path, image_size: int, frames: CalibrationSet) -> Checkpoint:
    """Return the poster's ResNet50 with seeded random weights, its batch normalization fitted to frames."""
    import numpy as np
    import torch

    from reid.train.builders import build_model
    from reid.train.model.checkpoint import load_checkpoint, save_checkpoint
    from reid.train.recipe import Recipe

    torch.manual_seed(0)
    recipe = Recipe(backbone="resnet50", weights="none", levels=(2, 3, 4), image_size=image_size)
    model, card, _ = build_model(recipe)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_parameters()  # timm starts the last of each block at 0, which would leave the block out
            module.momentum = None  # the plain mean over all batches
    with torch.no_grad():
        for batch in frames.batches(card.preprocessing, batch_size=8):
            model.train()(torch.from_numpy(np.ascontiguousarray(batch)))
    run.mkdir()
    save_checkpoint(run, model.eval(), card, {})
    return load_checkpoint(run)


def write_graphs(folder: Path, checkpoint: Checkpoint, frames: CalibrationSet) -> float:
    """Write the graphs as `reid-export --int8` does, but for the search; return INT8's share of the work, 0 to 1."""
    import numpy as np
    import onnx

    from reid.calibration.layers import find_layers
    from reid.calibration.quantize import quantize
    from reid.calibration.scales import measure_scales
    from reid.export.graph import export_graph
    from reid.export.half import write_half_graph

    fp32, fp16, int8 = (folder / f"{precision}.onnx" for precision in ("fp32", "fp16", "int8"))
    export_graph(checkpoint.model, checkpoint.card, fp32)
    write_half_graph(fp32, fp16, np.load(folder / "frames.npy")[:8])
    layers = find_layers(onnx.load(fp32))
    scales = measure_scales(fp32, checkpoint.card, frames, set(layers.tensors))
    names = [layer.name for layer in layers.layers]
    thresholds = {name: found.thresholds[METHOD].value for name, found in scales.tensors.items()}
    onnx.save(quantize(onnx.load(fp16), layers, names, thresholds), int8)
    return layers.share(names)


def measure(checkpoint: Path, folder: Path, threads: int, batch: int, rounds: int) -> Rows:
    """Run all sessions in turns and return their figures."""
    os.environ.update(OMP_NUM_THREADS=str(threads), OMP_WAIT_POLICY="PASSIVE")  # the processes inherit them
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(in_own_process(partial(Worker.start, name, checkpoint, folder, batch)))
            for name in SESSIONS
        }
        embeddings = {name: worker.submit(Worker.embed).result() for name, worker in workers.items()}  # the warm-up
        turns: dict[str, list[Turn]] = {name: [] for name in workers}
        for _ in range(rounds):
            for name, worker in workers.items():
                turns[name].append(worker.submit(Worker.take_turn).result())
    return {name: row(turns[name], turns[PEER], embeddings[name], embeddings[PEER]) for name in SESSIONS}


def in_own_process(start: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """Return a pool of one fresh process, which begins with `start`."""
    return ProcessPoolExecutor(1, get_context("spawn"), start)


class Worker:
    """The one session of a process, and the batch that it embeds."""

    session: Session
    frames: NDArray[np.uint8]

    @classmethod
    def start(cls, name: str, checkpoint: Path, folder: Path, batch: int) -> None:
        """Open a session of SESSIONS, and load the batch."""
        import numpy as np

        cls.session = open_session(name, checkpoint, folder)
        frames = np.load(folder / "frames.npy")
        cls.frames = frames[np.arange(batch) % len(frames)]

    @classmethod
    def embed(cls) -> NDArray[np.float32]:
        """Embed the batch, each frame a tracklet."""
        import numpy as np

        return cls.session.run(cls.frames, np.eye(len(cls.frames), dtype=np.float32))[0]

    @classmethod
    def take_turn(cls) -> Turn:
        """Embed the batch once and say how long that took."""
        wall, busy = time.perf_counter(), time.process_time()
        frames = len(cls.embed())
        return Turn(frames, time.perf_counter() - wall, time.process_time() - busy)


def open_session(name: str, checkpoint: Path, folder: Path) -> Session:
    """Open the checkpoint or a graph with the class that `--session` would open it with."""
    if name == PEER:
        import reid.train.session

        return reid.train.session.open_torch(checkpoint, "cpu", "fp32")
    library, precision = name.split()
    graph = folder / f"{precision}.onnx"
    if library == "openvino":
        from reid.runtime.sessions.openvino import OpenVINOSession

        return OpenVINOSession(graph)
    from reid.runtime.sessions.onnxruntime import OnnxRuntimeSession

    return OnnxRuntimeSession(graph, "cpu")


def row(
    turns: Sequence[Turn], peer: Sequence[Turn], embeddings: NDArray[np.float32], expected: NDArray[np.float32]
) -> dict[str, float]:
    """Return a session's figures; the turns are those of the same rounds as the peer's."""
    rounds = list(zip(turns, peer, strict=True))
    return {
        "median": round(statistics.median(turn.rate for turn in turns), 2),
        "best": round(max(turn.rate for turn in turns), 2),
        "ratio": round(statistics.median(turn.rate / other.rate for turn, other in rounds), 2),
        "cpu_ratio": round(statistics.median(other.busy / turn.busy for turn, other in rounds), 2),
        "cores": round(statistics.median(turn.busy / turn.wall for turn in turns), 2),
        "cosine": round(float((embeddings * expected).sum(axis=1).min()), 5),
    }


def show(rows: Rows, threads: int, batch: int) -> None:
    """Print the figures as a Markdown table."""
    print(f"\n{threads} thread{'s' * (threads > 1)}, batches of {batch}\n")
    print("| session | frames/s, median | best | times PyTorch | by CPU time | cores | smallest cosine |")
    print("|---|---|---|---|---|---|---|")
    for name, one in rows.items():
        rates, ratios = (f"{one[a]:.2f} | {one[b]:.2f}" for a, b in (("median", "best"), ("ratio", "cpu_ratio")))
        print(f"| {name} | {rates} | {ratios} | {one['cores']:.2f} | {one['cosine']:.5f} |")
    fastest = max((name for name in rows if name != PEER), key=lambda name: rows[name]["ratio"])
    print(f"\nFastest: {fastest}, {rows[fastest]['ratio']:.2f} times {PEER}", flush=True)


def command(options: argparse.Namespace) -> str:
    """Return the command that repeats this run anywhere."""
    model = "--run RUN" if options.run else f"--image-size {options.image_size}"
    threads = " ".join(map(str, options.threads))
    return (
        f"python benchmarks/int8_cpu.py {model} --threads {threads} --batch {options.batch} --rounds {options.rounds}"
    )


def machine() -> dict[str, object]:
    """Return what a time depends on besides the code."""
    facts = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    cpu = {name.strip(): value.strip() for name, _, value in facts}
    known = cpu.get("flags", "").split()
    return {
        "cpu": cpu.get("model name", platform.processor()),
        "cores": os.cpu_count() or 1,
        "vnni": [flag for flag in ("avx_vnni", "avx512_vnni", "amx_int8") if flag in known],
        "python": platform.python_version(),
        **{package.name: package.version for package in distributions() if package.name in PACKAGES},
    }


if __name__ == "__main__":
    main()
