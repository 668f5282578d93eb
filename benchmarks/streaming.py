"""From JPEG files to embeddings: the pipeline beside the bare session, and beside the loops that people write.

- `session`: full batches that lie ready in memory; nothing can be faster on this device;
- `pipeline`: `reid.embed`, from files to the tracklets' embeddings;
- `loop`: one tracklet after another: read, resize, run;
- `padded`: as `loop`, each tracklet filled up to a fixed length, as models with a fixed input want it.

On a CPU, decoding takes time from the session: the CPU time of a frame says how much.

Each runs in processes of its own, in turns, so that their peak memory and the machine's moods are comparable::

    python benchmarks/streaming.py BUNDLE DATA --frames 10000 --json benchmarks/results/streaming.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from comparison import versions
from numpy.typing import NDArray

from reid.data.layout import open_dataset
from reid.runtime.files.storage import atomic_write
from reid.runtime.imaging import as_model_input, read_frame
from reid.runtime.opening import open_session
from reid.runtime.pipeline.events import events_of
from reid.runtime.pipeline.stages import Stages
from reid.runtime.pipeline.stream import embed_events
from reid.runtime.sessions.session import Session, run
from reid.runtime.tracklet import Tracklet

PADDED = 16
"""The length that tracklets are filled up to: longer than most of VeRi-776's."""


def main() -> None:
    """Run every way in turns, print the table and write the result."""
    options = parse()
    if options.only:
        print(json.dumps(measure(options)))
        return
    rounds = [{name: in_own_process(name) for name in WAYS} for _ in range(options.rounds)]
    rows = {name: summary(name, rounds) for name in WAYS}
    print(table(rows), end="")
    if options.json:
        facts = {
            "frames": options.frames,
            "session": rounds[0]["pipeline"]["session"],
            "image_size": rounds[0]["pipeline"]["image_size"],
            "cores": os.cpu_count(),
            "versions": versions("reid", "onnxruntime-gpu", "opencv-python-headless"),
        }
        atomic_write(options.json, (json.dumps(facts | {"ways": rows, "rounds": rounds}, indent=2) + "\n").encode())
        atomic_write(options.json.with_suffix(".md"), table(rows).encode())


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="BUNDLE", help="what open_session takes")
    parser.add_argument("data", type=Path, metavar="DATA", help="data set whose gallery tracklets are embedded")
    parser.add_argument("--frames", type=int, default=10_000, help="JPEG files to embed [default: 10000]")
    parser.add_argument("--session", default="auto", help="session to run [default: auto]")
    parser.add_argument("--precision", default="fp32", help="precision to run [default: fp32]")
    parser.add_argument("--rounds", type=int, default=3, help="turns of all ways [default: 3]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there, and a table beside it")
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def in_own_process(name: str) -> dict[str, Any]:
    """Measure one way in a process of its own."""
    words = [sys.executable, *sys.argv, "--only", name]
    print(f"{name} ...", file=sys.stderr, flush=True)
    measured: dict[str, Any] = json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
    return measured


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Embed the frames in one way, after a warm-up of two batches."""
    tracklets = list(tracklets_of(options.data, options.frames))
    with open_session(options.model, options.session, options.precision) as session:
        full_batches(session, tracklets[:1], 2 * session.limits.frames)
        start, cpu_start = time.perf_counter(), time.process_time()
        extra = WAYS[options.only](session, tracklets, options.frames)
        seconds = time.perf_counter() - start
        size = session.info.card.preprocessing
        return {
            "frames_per_s": round(options.frames / seconds, 2),
            "cpu_ms_per_frame": round(1000 * (time.process_time() - cpu_start) / options.frames, 3),
            "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "session": str(session.info),
            "image_size": [size.height, size.width],
        } | extra


def tracklets_of(data: Path, frames: int) -> Iterator[Tracklet]:
    """Yield the gallery's tracklets, again and again, until they have so many frames."""
    given = itertools.cycle(open_dataset(data, needs="gallery").gallery.tracklets)
    while frames > 0:
        tracklet = next(given)
        yield Tracklet(tracklet.id, tracklet.frames[:frames])
        frames -= len(tracklet.frames)


def full_batches(session: Session, tracklets: Sequence[Tracklet], frames: int) -> dict[str, Any]:
    """Run full batches that are ready in memory."""
    most = session.limits.frames
    crop = as_model_input(read_frame(tracklets[0].frames[0]), session.info.card.preprocessing)
    batch, pooling = np.stack([crop] * most), np.eye(min(most, session.limits.tracklets), most, dtype=np.float32)
    for start in range(0, frames, most):
        count = min(most, frames - start)
        run(session, batch[:count], np.ascontiguousarray(pooling[:, :count]))
    return {}


def pipeline(session: Session, tracklets: Sequence[Tracklet], frames: int) -> dict[str, Any]:
    """Embed as `reid.embed` does."""
    stages = Stages()
    for _ in embed_events(session, events_of(tracklets), stages=stages):
        pass
    room = stages.batches * session.limits.frames
    return {
        "occupancy_percent": round(100 * stages.frames / room, 2),
        "limited_by": stages.limiting,
        "waited_s": {stage: round(seconds, 3) for stage, seconds in stages.waited_s.items()},
    }


def loop(session: Session, tracklets: Sequence[Tracklet], frames: int) -> dict[str, Any]:
    """Read, resize and run one tracklet after another."""
    for tracklet in tracklets:
        one_by_one(session, pixels_of(session, tracklet))
    return {}


def padded(session: Session, tracklets: Sequence[Tracklet], frames: int) -> dict[str, Any]:
    """Do as `loop`, with every tracklet filled up to a multiple of one length."""
    for tracklet in tracklets:
        pixels = pixels_of(session, tracklet)
        missing = -len(pixels) % PADDED
        one_by_one(session, np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)]))
    return {}


def pixels_of(session: Session, tracklet: Tracklet) -> NDArray[np.uint8]:
    """Read and resize all frames of a tracklet."""
    size = session.info.card.preprocessing
    return np.stack([as_model_input(read_frame(frame), size) for frame in tracklet.frames])


def one_by_one(session: Session, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed one tracklet, [D]."""
    most = session.limits.frames
    parts = [pixels[start : start + most] for start in range(0, len(pixels), most)]
    return np.sum([run(session, part, np.ones((1, len(part)), np.float32)).pooled[0] for part in parts], axis=0)


WAYS: dict[str, Callable[[Session, Sequence[Tracklet], int], dict[str, Any]]] = {
    "session": full_batches,
    "pipeline": pipeline,
    "loop": loop,
    "padded": padded,
}


def summary(name: str, rounds: Sequence[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return a way's medians: its rate, its rate relative to the bare session's in the same round, its memory."""
    own = [one[name] for one in rounds]
    ratios = [one[name]["frames_per_s"] / one["session"]["frames_per_s"] for one in rounds]
    extra = {key: own[-1][key] for key in ("occupancy_percent", "limited_by") if key in own[-1]}
    return {
        "frames_per_s": statistics.median(one["frames_per_s"] for one in own),
        "of_the_session_percent": round(100 * statistics.median(ratios), 1),
        "cpu_ms_per_frame": statistics.median(one["cpu_ms_per_frame"] for one in own),
        "peak_memory_mib": max(one["peak_memory_mib"] for one in own),
    } | extra


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the ways as a Markdown table."""
    head = ["", "frames/s", "of the session", "CPU time a frame", "peak memory", "full positions", "limited by"]
    lines = [head, ["---", *["---:"] * 5, "---"]]
    for name, row in rows.items():
        rate = [f"{row['frames_per_s']:,.1f}", f"{row['of_the_session_percent']} %"]
        costs = [f"{row['cpu_ms_per_frame']:.2f} ms", f"{row['peak_memory_mib']:.0f} MiB"]
        full = f"{row['occupancy_percent']} %" if "occupancy_percent" in row else ""
        lines.append([name, *rate, *costs, full, row.get("limited_by", "")])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
