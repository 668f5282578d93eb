r"""Time a bundle's graphs on a CPU beside PyTorch, to see what INT8 is worth without a GPU.

The peer is PyTorch eager in FP32, which is how a checkpoint runs if nobody exports it. It is compared with the FP32,
FP16 and INT8 graphs in every installed session, through the project's own classes: uint8 frames go in, embeddings come
out, and what is timed is what a user gets.

A ratio between two runtimes is easily wrong, so:

- *Same threads.* Every session has a process of its own, started with OMP_NUM_THREADS: no two libraries share a
  thread pool, and threads that one of them leaves spinning do not slow down the next. The ratio of the process's CPU
  time to wall time is reported beside each figure as `cores`: if it is above the number of threads, the comparison is
  unfair; if it is far below, the machine was busy with other things.
- *Same moment.* The sessions take turns of one batch each (A B C A B C), because a shared machine changes speed from
  one second to the next. The ratio is the median of the rounds' ratios; the best round shows what the machine can do.
- *Two clocks.* The ratio of CPU times is reported as well; it depends less on the machine's other load.
- *No spinning.* OMP_WAIT_POLICY is passive. Otherwise PyTorch's threads spin while they wait for a thread that a busy
  machine is not running, which has cost PyTorch more than half of its speed and flattered everything else.
- *Same answer.* The smallest cosine similarity to PyTorch's embeddings is reported beside each speed. It guards
  against a graph that is fast because it is wrong. How accurate INT8 is can only be measured on a trained model, with
  `reid-export`.

Speed does not depend on the values of the weights, so without --run the model is a ResNet50 with three levels and
random weights. Its batch normalization is fitted to rendered vehicles, so that its activations are as large as a
trained model's. The INT8 graph is made as by `reid-export --int8`, with FP16 around it, but with every layer in INT8
and without a search::

    python benchmarks/int8_cpu.py --threads 1 2 --json benchmarks/results/int8_cpu.json

How to read the result: INT8 gains from VNNI, which multiplies and adds four INT8 pairs per lane at once; `vnni` says
whether the CPU has it. OpenVINO runs the whole Q/DQ graph in INT8. ONNX Runtime's CPU provider fuses a layer to INT8
only if its output is quantized, too, and the rest is in FP32. The graph that TensorRT fuses is not like that, so its
Q/DQ pairs are computed one by one, which is slower than the FP32 graph. Neither library computes in FP16 here: both
widen it to FP32, and only the file is smaller.
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

if TYPE_CHECKING:  # libraries that count threads when imported are imported in the timed processes
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
"""Figures by session."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The timing of one batch.

    Attributes:
        frames: the number of frames in the batch.
        wall: the wall time, in seconds.
        busy: the CPU time of the process, in seconds.
    """

    frames: int
    wall: float
    busy: float

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.wall


def main() -> None:
    """Make the graphs, time every session with every number of threads, and print a table for each number."""
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
    parser.add_argument("--run", type=Path, help="run of reid-train [default: a ResNet50 with random weights]")
    parser.add_argument("--image-size", type=int, default=256, help="image size of the random model")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=8, help="frames in a batch")
    parser.add_argument("--rounds", type=int, default=15, help="batches of each session")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    return parser.parse_args()


def prepare(folder: Path, run: Path | None, image_size: int) -> dict[str, object]:
    """Write checkpoint, frames and the three graphs to a folder, and return the facts about them."""
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
    """Return the poster's ResNet50 with seeded random weights and batch normalization that is fitted to frames."""
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
            module.reset_parameters()  # timm starts the last one of each block at 0, which would bypass the block
            module.momentum = None  # the plain mean over all batches
    with torch.no_grad():
        for batch in frames.batches(card.preprocessing, batch_size=8):
            model.train()(torch.from_numpy(np.ascontiguousarray(batch)))
    run.mkdir()
    save_checkpoint(run, model.eval(), card, {})
    return load_checkpoint(run)


def write_graphs(folder: Path, checkpoint: Checkpoint, frames: CalibrationSet) -> float:
    """Write the graphs as `reid-export --int8` does, without the search; return INT8's share of the work, 0 to 1."""
    import numpy as np
    import onnx

    from reid.calibration.layers import find_layers
    from reid.calibration.scales import measure_scales
    from reid.export.fp16 import write_fp16_graph
    from reid.export.graph import export_graph
    from reid.export.int8.graph import Int8Graph

    fp32, fp16, int8 = (folder / f"{precision}.onnx" for precision in ("fp32", "fp16", "int8"))
    export_graph(checkpoint.model, checkpoint.card, fp32)
    write_fp16_graph(fp32, fp16, np.load(folder / "frames.npy")[:8])
    layers = find_layers(onnx.load(fp32))
    scales = measure_scales(fp32, checkpoint.card, frames, set(layers.inputs))
    amax = {name: found.by_method[METHOD].value for name, found in scales.tensors.items()}
    graph = Int8Graph(onnx.load(fp16), layers, amax)
    graph.write(int8, in_fp16=())
    return graph.int8_fraction(())


def measure(checkpoint: Path, folder: Path, threads: int, batch: int, rounds: int) -> Rows:
    """Run all sessions in turns, and return their figures."""
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
    """Return a pool of one fresh process, which calls `start` first."""
    return ProcessPoolExecutor(1, get_context("spawn"), start)


class Worker:
    """The only session of a process, and the batch that it embeds."""

    session: Session
    frames: NDArray[np.uint8]

    @classmethod
    def start(cls, name: str, checkpoint: Path, folder: Path, batch: int) -> None:
        """Open one of SESSIONS, and load the batch."""
        import numpy as np

        cls.session = open_session(name, checkpoint, folder)
        frames = np.load(folder / "frames.npy")
        cls.frames = frames[np.arange(batch) % len(frames)]

    @classmethod
    def embed(cls) -> NDArray[np.float32]:
        """Embed the batch, with each frame as a tracklet."""
        import numpy as np

        from reid.runtime.sessions.session import run

        return run(cls.session, cls.frames, np.eye(len(cls.frames), dtype=np.float32))[0]

    @classmethod
    def take_turn(cls) -> Turn:
        """Embed the batch once, and return how long that took."""
        wall, busy = time.perf_counter(), time.process_time()
        frames = len(cls.embed())
        return Turn(frames, time.perf_counter() - wall, time.process_time() - busy)


def open_session(name: str, checkpoint: Path, folder: Path) -> Session:
    """Open the checkpoint or a graph with the class that `--session` would use."""
    if name == PEER:
        import reid.train.session

        return reid.train.session.open_torch(checkpoint, "cpu", "fp32").session
    library, precision = name.split()
    graph = folder / f"{precision}.onnx"
    if library == "openvino":
        from reid.runtime.sessions.openvino import load_openvino

        return load_openvino(graph)
    from reid.runtime.sessions.onnxruntime import load_onnxruntime

    return load_onnxruntime(graph, "cpu")


def row(
    turns: Sequence[Turn], peer: Sequence[Turn], embeddings: NDArray[np.float32], expected: NDArray[np.float32]
) -> dict[str, float]:
    """Return a session's figures; its turns and the peer's come from the same rounds."""
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
    """Return everything besides the code that a time depends on."""
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
