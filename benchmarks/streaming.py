"""From JPEG files to embeddings: the pipeline beside the bare session, and beside the loops that people write.

- `session`: full batches that lie ready in memory; nothing can be faster on this device;
- `pipeline`: `reid.embed`, from files to the tracklets' embeddings;
- `loop`: one tracklet after another: read, resize, run;
- `padded`: as `loop`, each tracklet filled up to a fixed length, as models with a fixed input want it.

On a CPU, decoding takes time from the session: the CPU time of a frame says how much.

Each has a process of its own, and they take turns, so that memory is each one's own and the machine's moods hit all::

    python benchmarks/streaming.py BUNDLE DATA --frames 512 --json benchmarks/results/streaming.json

`reid-bench` measures the first two as well, from the files of the reference crops.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from result_files import command, environment, markdown_table, script_parser, write_result
from streaming_ways import WAYS

from reid.bench.estimates import estimate
from reid.bench.models import frames_of, read_model
from reid.bench.process import start_host
from reid.bench.records import Estimate, Record
from reid.bench.report.numbers import estimated
from reid.bench.rounds import take_rounds

OPENER = f"{Path(__file__).with_name('streaming_ways.py')}:open_way"
LONGEST_TURN_S = 3600.0


class WayResult(Record):
    """What a way took.

    Attributes:
        frames_per_s: frames per second.
        of_session_percent: the same relative to the bare session in the same round.
        cpu_ms_per_frame: the CPU time of a frame, the median of the turns.
        peak_memory_mib: the most memory that its process had.
        occupancy_percent: the share of the batches' positions that held a frame; None where it is not counted.
        limited_by: the stage that the others wait for; empty where there are none.
    """

    frames_per_s: Estimate
    of_session_percent: Estimate
    cpu_ms_per_frame: float
    peak_memory_mib: float
    occupancy_percent: float | None = None
    limited_by: str = ""


def main() -> None:
    """Let all ways take turns, print the table and write the result."""
    options = parse()
    session, ways = measure(options)
    print(table(ways), end="")
    if options.json:
        facts = {"command": command(), "environment": environment(), "session": session, "frames": options.frames}
        rows = {name: one.model_dump(mode="json", exclude_defaults=True) for name, one in ways.items()}
        write_result(options.json, facts | {"ways": rows}, table(ways))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("model", type=Path, metavar="BUNDLE", help="what reid-bench takes")
    parser.add_argument("data", type=Path, metavar="DATA", help="data set whose gallery tracklets are embedded")
    parser.add_argument("--frames", type=int, default=512, help="JPEG files to embed in a turn [default: 512]")
    parser.add_argument("--session", default="auto", help="session to run [default: auto]")
    parser.add_argument("--precision", default="fp32", help="precision to run [default: fp32]")
    parser.add_argument("--minutes", type=float, default=5, help="how long to take turns [default: 5]")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> tuple[str, dict[str, WayResult]]:
    """Return the session, and what each way takes on it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        crop = Path(folder) / "crop.npy"
        np.save(crop, frames_of(read_model(options.model), 1).pixels)
        hosts = {name: processes.enter_context(start_host(OPENER)) for name in WAYS}
        request = {
            "session": options.session,
            "precision": options.precision,
            "data": str(options.data.absolute()),
            "count": options.frames,
        }
        opened = [host.open(options.model.absolute(), crop, way=name, **request) for name, host in hosts.items()]
        turns = take_rounds(
            [*hosts], lambda name: hosts[name].ask("take", LONGEST_TURN_S), seconds=60 * options.minutes
        )
        ways = {name: summary(turns[name], turns["session"], host.memory().host) for name, host in hosts.items()}
        return opened[0].facts["session"], ways


def summary(turns: Sequence[Any], session: Sequence[Any], memory_mib: float) -> WayResult:
    """Return what a way's turns say; the session's are of the same rounds."""
    rates, bare = ([turn["frames_per_s"] for turn in one] for one in (turns, session))
    known = ("occupancy_percent", "limited_by")
    return WayResult(
        frames_per_s=estimate(rates),
        of_session_percent=estimate([100 * rate / other for rate, other in zip(rates, bare, strict=True)]),
        cpu_ms_per_frame=statistics.median(turn["cpu_ms_per_frame"] for turn in turns),
        peak_memory_mib=memory_mib,
        **{name: turns[-1][name] for name in known if name in turns[-1]},
    )


def table(ways: Mapping[str, WayResult]) -> str:
    """Return the ways as a Markdown table."""
    head = ["", "limited by", "frames/s", "of the session", "CPU time a frame", "peak memory", "full positions"]
    return markdown_table(head, [cells(name, way) for name, way in ways.items()], texts=2)


def cells(name: str, way: WayResult) -> list[str]:
    """Return a row of the table."""
    full = "" if way.occupancy_percent is None else f"{way.occupancy_percent:g} %"
    rates = [estimated(way.frames_per_s), f"{estimated(way.of_session_percent)} %"]
    return [name, way.limited_by, *rates, f"{way.cpu_ms_per_frame:.2f} ms", f"{way.peak_memory_mib:,.0f} MiB", full]


if __name__ == "__main__":
    main()
