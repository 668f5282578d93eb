"""`reid-serve` at saturation beside the bare session, in turns of one run; what it answers above that; its memory.

The service runs in a process of its own, with a gallery of random embeddings. Clients are threads of this process: each
sends a query, waits for the answer, and sends the next. In each round the bare session runs full batches for some
seconds, while the service is idle, and then the clients ask, while the bare session is idle. Answers count from the
first fifth of a turn on until clients stop asking: before and after, batches are not full. On a machine without a GPU
all of them share its CPUs, so the CPU time of the service for a picture and of the clients is told. Then twice as many
pictures come as there is room for, and what is refused is counted. `benchmarks/random_model.py` makes a model::

    python benchmarks/random_model.py random
    python benchmarks/serve_load.py random/bundle --json benchmarks/results/serve_load.json

With `--soak MINUTES` the overload goes on so long, and the memory of the service's process is recorded; the script
fails where it grows.
"""

from __future__ import annotations

import argparse
import http.client
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from result_files import command, environment, markdown_table, script_parser, write_result

from reid.runtime.bundle import Bundle
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.store.store import Store
from reid.runtime.imaging import as_model_input, read_frame
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import Session, run
from reid.runtime.space import Space

ROOM_BATCHES = 8
"""Batches for which the service has room (`serve/embedder.py`)."""

GROWTH_MIB = 32.0
"""How much more memory the service may have at the end of a soak than after its first fifth."""

SAMPLES = 20


@dataclass
class Answers:
    """What clients were answered.

    Attributes:
        seconds: how long each answer with matches took.
        statuses: how many answers had each status.
        times: when each answer with matches came, in seconds of a monotonic clock.
        pictures: the pictures of the answers with matches.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    pictures: int = 0


def main() -> None:
    """Measure, print the table and write the result."""
    options = parse()
    with TemporaryDirectory() as folder, open_session(options.bundle, options.session, options.precision) as session:
        store = make_store(Path(folder) / "store", session.info.space, options.entries)
        with served(options, store) as (url, process):
            result = measure(options, session, url, process.pid)
    print(table(result), end="")
    if options.json:
        write_result(options.json, {"command": command(), "environment": environment()} | result, table(result))
    if problems := problems_of(result):
        raise SystemExit("; ".join(problems))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("bundle", type=Path, help="the model")
    parser.add_argument("--session", default="auto", help="[default: auto]")
    parser.add_argument("--precision", default="fp32", help="[default: fp32]")
    parser.add_argument("--entries", type=int, default=10_000, help="entries of the gallery [default: 10000]")
    parser.add_argument("--clients", type=int, default=96, help="clients at saturation [default: 96]")
    parser.add_argument("--seconds", type=float, default=20, help="of each turn [default: 20]")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each [default: 3]")
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="overload it so long [default: 0]")
    return parser.parse_args()


def make_store(folder: Path, space: Space, entries: int) -> Path:
    """Write a gallery of random embeddings."""
    vectors = np.random.default_rng(0).standard_normal((entries, space.dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Store.create(folder, space) as store:
        store.add([Entry(f"{number}", f"c{number % 8}", frames=1) for number in range(entries)], vectors)
    return folder


@contextmanager
def served(options: argparse.Namespace, store: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the service, and yield its URL and its process."""
    words = [sys.executable, "-c", "from reid.commands.serve import main; main()", options.bundle, store, "--port", "0"]
    words += ["--session", options.session, "--precision", options.precision, "--max-rate", "1000000"]
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout.readline().split(": ")[0], process
    finally:
        process.terminate()
        process.wait()


def measure(options: argparse.Namespace, session: Session, url: str, pid: int) -> dict[str, Any]:
    """Return what was measured."""
    crops = Bundle.open(options.bundle).reference()[0]
    batch = np.stack([as_model_input(read_frame(crop), session.info.card.preprocessing) for crop in crops])
    frames, tracklets = session.limits.frames, session.limits.tracklets
    filled = batch[np.arange(frames) % len(batch)]
    form = form_of(crops[:1])
    bare_rate(session, filled, 1)
    ask(url, form, 1, options.clients, seconds=2)
    rounds = []
    for _ in range(options.rounds):
        bare = bare_rate(session, filled, options.seconds)
        rounds.append({**bare, **served_rate(url, form, options, pid)})
    over = 2 * (ROOM_BATCHES * frames + 16) // 16
    several = form_of([crops[number % len(crops)] for number in range(16)])
    memory: list[dict[str, float]] = []
    overload_s = 60 * options.soak or options.seconds
    watching = threading.Thread(target=watch, args=(pid, overload_s, memory))
    watching.start()
    before = time.monotonic()
    overloaded = ask(url, several, 16, over, seconds=overload_s)
    seconds = time.monotonic() - before
    watching.join()
    return {
        "model": session.info.card.fingerprint[:12],
        "session": f"{session.info} in {session.info.precision}",
        "batch": [frames, tracklets],
        "entries": options.entries,
        "clients": options.clients,
        "rounds": rounds,
        "overload": {
            "clients": over,
            "pictures_each": 16,
            "seconds": round(seconds, 1),
            "served_per_s": overloaded.pictures / seconds,
            **latencies(overloaded),
        },
        "memory": memory,
        "soak_minutes": options.soak,
    }


def bare_rate(session: Session, batch: NDArray[np.uint8], seconds: float) -> dict[str, float]:
    """Return how many frames per second the session embeds in full batches, and the CPU time of each."""
    pooling = np.eye(len(batch), dtype=np.float32)
    began, cpu, frames = time.monotonic(), time.process_time(), 0
    while time.monotonic() - began < seconds:
        run(session, batch, pooling)
        frames += len(batch)
    return {
        "bare_per_s": frames / (time.monotonic() - began),
        "bare_cpu_ms": 1000 * (time.process_time() - cpu) / frames,
    }


def served_rate(url: str, form: tuple[str, bytes], options: argparse.Namespace, pid: int) -> dict[str, Any]:
    """Return how many pictures per second the service answers while all clients ask, and what that takes."""
    before, own, its = time.monotonic(), time.process_time(), cpu_of(pid)
    answers = ask(url, form, 1, options.clients, seconds=options.seconds)
    seconds = time.monotonic() - before
    began, ended = before + options.seconds / 5, before + options.seconds
    within = sum(began < at <= ended for at in answers.times)
    return {
        "served_per_s": within / (ended - began),
        "clients_cpu": (time.process_time() - own) / seconds,
        "service_cpu_ms": 1000 * (cpu_of(pid) - its) / max(1, answers.pictures),
        **latencies(answers),
    }


def cpu_of(pid: int) -> float:
    """Return the CPU time that a process has taken, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(url: str, form: tuple[str, bytes], pictures: int, clients: int, *, seconds: float) -> Answers:
    """Let clients ask for some seconds; those that are refused wait as long as the service says."""
    done, until = queue.SimpleQueue[Answers](), time.monotonic() + seconds
    threads = [
        threading.Thread(target=lambda: done.put(client(url, form, pictures, until)), daemon=True)
        for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    total = Answers()
    for _ in threads:
        one = done.get()
        total.seconds += one.seconds
        total.statuses += one.statuses
        total.times += one.times
        total.pictures += one.pictures
    return total


def client(url: str, form: tuple[str, bytes], pictures: int, until: float) -> Answers:
    """Ask one query after another."""
    answers, kind, body = Answers(), *form
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    while (began := time.monotonic()) < until:
        connection.request("POST", "/v1/queries?k=10", body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        answers.statuses[answer.status] += 1
        if answer.status == 200:
            answers.times.append(time.monotonic())
            answers.seconds.append(answers.times[-1] - began)
            answers.pictures += pictures
        else:
            time.sleep(float(answer.headers.get("Retry-After", 1)))
    connection.close()
    return answers


def form_of(crops: Sequence[Path]) -> tuple[str, bytes]:
    """Return the content type and the body of a form with pictures."""
    head = b'--x\r\nContent-Disposition: form-data; name="pictures"; filename="a.jpg"\r\n\r\n'
    parts = [head + crop.read_bytes() + b"\r\n" for crop in crops]
    return "multipart/form-data; boundary=x", b"".join(parts) + b"--x--\r\n"


def latencies(answers: Answers) -> dict[str, Any]:
    """Return the milliseconds within which half and 99 % of the answers came, and how many were refused."""
    milliseconds = 1000 * np.array(answers.seconds or [np.nan])
    return {
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
        "statuses": {str(status): count for status, count in sorted(answers.statuses.items())},
    }


def watch(pid: int, seconds: float, memory: list[dict[str, float]]) -> None:
    """Look at the memory of a process from time to time."""
    began = time.monotonic()
    for number in range(1, SAMPLES + 1):
        time.sleep(max(0.0, began + seconds * number / SAMPLES - time.monotonic()))
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        resident_mib = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        memory.append({"seconds": round(time.monotonic() - began, 1), "resident_mib": round(resident_mib, 1)})


def problems_of(result: dict[str, Any]) -> list[str]:
    """Return what should not be."""
    statuses = [one["statuses"] for one in (*result["rounds"], result["overload"])]
    faults = {status for one in statuses for status in one} - {"200", "503"}
    memory = [one["resident_mib"] for one in result["memory"]]
    growth = memory[-1] - max(memory[: SAMPLES // 5])
    facts = {
        f"there were answers of status {', '.join(sorted(faults))}": not faults,
        "nothing was refused in overload": "503" in result["overload"]["statuses"],
        f"memory grew by {growth:.1f} MiB": growth < GROWTH_MIB or not result["soak_minutes"],
    }
    return [problem for problem, is_fine in facts.items() if not is_fine]


def table(result: dict[str, Any]) -> str:
    """Return what was measured as a Markdown table."""
    rounds, over, memory = result["rounds"], result["overload"], result["memory"]
    bare, served = (median(one[name] for one in rounds) for name in ("bare_per_s", "served_per_s"))
    shares = [100 * one["served_per_s"] / one["bare_per_s"] for one in rounds]
    names = ("p50_ms", "p99_ms", "clients_cpu", "bare_cpu_ms", "service_cpu_ms")
    middle = {name: median(one[name] for one in rounds) for name in names}
    refused = sum(count for status, count in over["statuses"].items() if status != "200")
    rows = [
        ("session", f"{result['session']}, batches of {result['batch'][0]}"),
        ("bare session", f"{bare:.1f} pictures/s"),
        ("service at saturation", f"{served:.1f} pictures/s"),
        ("share", f"{median(shares):.1f} % ({min(shares):.1f} to {max(shares):.1f})"),
        (f"{result['clients']} clients", f"p50 {middle['p50_ms']:.0f} ms, p99 {middle['p99_ms']:.0f} ms"),
        (
            "CPU time of a picture",
            f"{middle['bare_cpu_ms']:.2f} ms bare, {middle['service_cpu_ms']:.2f} ms in the service",
        ),
        ("CPUs that the clients took", f"{middle['clients_cpu']:.2f}"),
        (
            f"overload: {over['clients']} clients of {over['pictures_each']} pictures",
            f"{over['served_per_s']:.1f} pictures/s, p50 {over['p50_ms']:.0f} ms, p99 {over['p99_ms']:.0f} ms, "
            f"{over['statuses'].get('200', 0)} answered, {refused} refused",
        ),
        (
            "memory of the service",
            f"{memory[0]['resident_mib']:.0f} MiB after {memory[0]['seconds']:.0f} s, "
            f"{memory[-1]['resident_mib']:.0f} after {memory[-1]['seconds']:.0f} s",
        ),
    ]
    return markdown_table(["", "serve_load"], rows)


if __name__ == "__main__":
    main()
