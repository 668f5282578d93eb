"""A `TrackletStream` for a long time at more than it can take: memory, drops, and whether the embeddings are right.

Eight threads are cameras: each pushes frames of a few tracks at a time, finishes some tracks and abandons others. Some
frames come twice, cannot be read, are too small for the gate, or show nothing new to the policy. The session takes a
fixed time for a frame, so that the rate which it can take is known, and means are computed beside the stream
(`live_cameras.py`). The script fails where a frame or a track is unaccounted for, an embedding is wrong, or memory
grows. It needs no bundle, no data and no GPU::

    python benchmarks/live_soak.py --minutes 10 --json benchmarks/results/live_soak.json
"""

from __future__ import annotations

import argparse
import gc
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from live_cameras import Camera, Check, Projection, too_small
from result_files import command, environment, markdown_table, script_parser, write_result

from reid.runtime.frame_policies import OnChange
from reid.runtime.live.stream import TrackletStream
from reid.runtime.pipeline.events import FrameEvent

CAMERAS, SAMPLES = 8, 20
FATES = ("embedding", "dropped", "repeated", "refused", "skipped", "forgotten")
EXPIRE_S = 2.0
GROWTH_MIB = 16.0
"""How much more memory the process may have at the end than when it began to be steady, at the second sample."""


@dataclass(frozen=True)
class Memory:
    """The process at a moment.

    Attributes:
        seconds: since the start.
        resident_mib: its memory.
        waiting: the frames and ends of tracks that are alive, wherever they are.
    """

    seconds: float
    resident_mib: float
    waiting: int

    @classmethod
    def now(cls, start: float) -> Memory:
        """Look at it."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        waiting = sum(type(one) is FrameEvent for one in gc.get_objects())
        return cls(time.monotonic() - start, pages * os.sysconf("SC_PAGE_SIZE") / 2**20, waiting)


def main() -> None:
    """Run it, print the table and write the result."""
    options = parse()
    result, problems = soak(options)
    print(table(result), end="")
    if options.json:
        write_result(options.json, {"command": command(), "environment": environment()} | result, table(result))
    if problems:
        raise SystemExit("; ".join(problems))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long to push [default: 10]")
    parser.add_argument("--rate", type=float, default=400, help="frames/s that the session takes [default: 400]")
    parser.add_argument("--load", type=float, default=2, help="how many times as many are pushed [default: 2]")
    parser.add_argument("--room", type=int, default=256, help="frames that wait at most [default: 256]")
    return parser.parse_args()


def soak(options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Return what was measured, and what is wrong with it."""
    session, stopped, start = Projection(options.rate), threading.Event(), time.monotonic()
    check, memory = Check(session), list[Memory]()
    choosing: dict[str, Any] = {"gate": too_small, "policy": partial(OnChange, 1)}
    with TrackletStream(session, room=options.room, expire_s=EXPIRE_S, **choosing) as stream:
        pace = options.load * options.rate / CAMERAS
        cameras = [Camera(stream, number, pace, stopped) for number in range(CAMERAS)]
        threads = [threading.Thread(target=camera.run, daemon=True) for camera in cameras]
        taker = threading.Thread(target=lambda: deque(map(check.take, stream), 0), daemon=True)
        for thread in (*threads, taker):
            thread.start()
        memory.extend(samples(start, 60 * options.minutes))
        stopped.set()
        for thread in threads:
            thread.join()
        stream.end()
        taker.join()
        counts = {str(camera): asdict(one) for camera, one in sorted(stream.counts().items(), key=str)}
    seconds = time.monotonic() - start
    result = {
        "seconds": round(seconds, 1),
        "pushed_per_s": round(sum(camera.pushed for camera in cameras) / seconds, 1),
        "embedded_per_s": round(check.frames / seconds, 1),
        "tracks": check.tracks,
        "expired": check.expired,
        "frames": check.frames,
        "unreadable": check.unreadable,
        "worst_difference": check.worst,
        "wrong": check.wrong[:10],
        "cameras": counts,
        "frames_alive_at_most": max(one.waiting for one in memory),
        "memory": [asdict(one) for one in memory],
    }
    return result, problems_of(check, cameras, counts, memory, options.room)


def samples(start: float, seconds: float) -> Iterator[Memory]:
    """Look at the process from time to time."""
    for number in range(1, SAMPLES + 1):
        time.sleep(max(0.0, start + seconds * number / SAMPLES - time.monotonic()))
        yield Memory.now(start)


def problems_of(
    check: Check, cameras: Sequence[Camera], counts: dict[str, dict[str, int]], memory: Sequence[Memory], room: int
) -> list[str]:
    """Return what does not add up."""
    total = {name: sum(one[name] for one in counts.values()) for name in next(iter(counts.values()))}
    growth = memory[-1].resident_mib - memory[1].resident_mib
    most = room + 4 * Projection.limits.frames
    facts = {
        "frames that were pushed are not all counted": total["pushed"] == sum(camera.pushed for camera in cameras),
        "frames have no fate": total["pushed"] == sum(total[fate] for fate in FATES),
        "frames were handed on, and never came out": total["embedding"] == check.frames + check.unreadable,
        "tracks have no fate": sum(camera.begun for camera in cameras) == check.tracks + total["lost_tracks"],
        "the session has embedded frames of tracks that never came out": not check.session.sums,
        f"{len(check.wrong)} tracks are wrong": not check.wrong,
        f"memory grew by {growth:.1f} MiB": growth < GROWTH_MIB,
        "more frames are alive than there is room for": max(one.waiting for one in memory) <= most,
    }
    return [problem for problem, is_fine in facts.items() if not is_fine]


def table(result: dict[str, Any]) -> str:
    """Return what was measured as a Markdown table."""
    first, last = result["memory"][1], result["memory"][-1]
    rows = [
        ("pushed", f"{result['pushed_per_s']} frames/s for {result['seconds']} s"),
        ("embedded", f"{result['embedded_per_s']} frames/s, {result['frames']} frames"),
        *((f"camera {name}", _camera(one)) for name, one in result["cameras"].items()),
        ("tracks", f"{result['tracks']}, of which {result['expired']} were abandoned; {len(result['wrong'])} wrong"),
        ("largest difference", f"{result['worst_difference']:.1e}"),
        (
            "memory",
            f"{first['resident_mib']:.1f} MiB after {first['seconds']:.0f} s, {last['resident_mib']:.1f} at the end",
        ),
        ("frames alive at most", f"{result['frames_alive_at_most']}"),
    ]
    return markdown_table(["", "live_soak"], rows)


def _camera(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items())


if __name__ == "__main__":
    main()
