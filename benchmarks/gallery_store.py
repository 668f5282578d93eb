"""Time the search of a stored gallery beside faiss's flat index, and what it takes to open it.

Both sides search the same embeddings exactly, in one process, in turns, with the same number of threads. Ours reads
them from its folder, through the page cache; faiss holds them in memory. Before anything is timed, both have to find
the same entries, but for near ties, which faiss orders by the rounding of its product.

The embeddings are seeded: as many vehicles as a thousandth of the gallery, each a direction plus noise. A turn's time
is taken by the clock on the wall and by that of the CPU, which other processes do not slow down as much.

A process of its own opens the gallery and searches it once, in which every checksum is compared, and then as often as
there are sizes. Reported are the times, and the most private memory: that of the process, but neither what it had
before it opened the gallery nor the page cache.

    pip install faiss-cpu
    OMP_NUM_THREADS=2 python benchmarks/gallery_store.py --gallery 1000000 --dims 1536 --folder /data/tmp
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from result_files import command, environment, script_parser, write_result
from side_by_side import as_text, compare

from reid.bench.rounds import take_rounds
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.store.store import Store
from reid.runtime.space import Space

CHUNK = 20_000
NOISE = 0.7
NEAR_TIE = 1e-5


def main() -> None:
    """Generate the gallery, check that both sides agree, and time them."""
    options = parse()
    faiss = load_peer()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path, index = Path(folder) / "gallery", faiss.IndexFlatIP(options.dims)
        fill(path, index, options)
        asked = [next(generate(queries, options.dims, options.gallery // 10)) for queries in options.queries]
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            once = fresh.submit(open_once, path, asked, options.k).result()
        print("once:", once)
        with Store.open(path) as store:
            figures = {str(len(one)): beside(store, index, one, options) for one in asked}
    if options.json:
        facts = {"peer": f"faiss {faiss.__version__}", "once": once, "seconds": figures}
        write_result(options.json, {"command": command(), "environment": environment(), **facts})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 16, 256], help="queries of one search")
    parser.add_argument("--storage", choices=["fp32", "fp16"], default="fp32")
    parser.add_argument("--folder", type=Path, help="where the gallery is written [default: the temporary folder]")
    parser.add_argument("--seconds", type=float, default=20, help="how long to take turns with a size [default: 20]")
    return parser.parse_args()


def load_peer() -> Any:  # noqa: ANN401 - a module without types
    """Return faiss, or exit with a message about what is missing."""
    try:
        return import_module("faiss")
    except ImportError as error:
        sys.exit(f"there is no faiss ({error}): pip install faiss-cpu")


def generate(count: int, dims: int, vehicles: int) -> Iterator[NDArray[np.float32]]:
    """Yield seeded embeddings, chunk by chunk; the last one first, as a query."""
    for start in range(0, count, CHUNK):
        rows = min(CHUNK, count - start)
        rng = np.random.default_rng([start, count])
        which = rng.integers(0, max(1, vehicles // 100), rows)
        vectors = np.random.default_rng(0).standard_normal((max(1, vehicles // 100), dims), np.float32)[which]
        vectors += NOISE * rng.standard_normal((rows, dims), np.float32)
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fill(path: Path, index: Any, options: argparse.Namespace) -> None:  # noqa: ANN401
    """Give both sides the same embeddings."""
    added = 0
    with Store.create(path, Space("f" * 64, "fp32", options.dims), storage=options.storage) as store:
        for chunk in generate(options.gallery, options.dims, options.gallery // 10):
            entries = [Entry(str(row), f"c{row % 20}", None, float(row)) for row in range(added, added + len(chunk))]
            store.add(entries, chunk)
            index.add(chunk if options.storage == "fp32" else chunk.astype(np.float16).astype(np.float32))
            added += len(chunk)


def open_once(path: Path, asked: Sequence[NDArray[np.float32]], k: int) -> dict[str, float]:
    """Open and search the gallery; return the seconds of opening it and of the first search, and the private memory."""
    before, start = private_bytes(), time.perf_counter()
    with Store.open(path) as store:
        opened = time.perf_counter()
        store.search(asked[0], k)
        searched = time.perf_counter()
        most = most_private_bytes(lambda: [store.search(one, k) for one in asked])
    return {"open_s": opened - start, "first_search_s": searched - opened, "private_bytes": most - before}


def most_private_bytes(task: Callable[[], object]) -> int:
    """Return the most private memory of this process during a task, as looked at a thousand times a second."""
    done, found = threading.Event(), [private_bytes()]

    def look() -> None:
        while not done.wait(0.001):
            found.append(private_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        task()
    finally:
        done.set()
        thread.join()
    return max(found)


def private_bytes() -> int:
    """Return the memory of this process that is no page cache."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def beside(store: Store, index: Any, asked: NDArray[np.float32], options: argparse.Namespace) -> dict[str, Any]:  # noqa: ANN401
    """Time both sides with so many queries at once."""
    check_agreement(store, index, asked, options.k)
    tasks = {"reid": lambda: store.search(asked, options.k), "faiss": lambda: index.search(asked, options.k)}
    rounds = take_rounds([*tasks], lambda side: seconds(tasks[side]), seconds=options.seconds)
    found = {}
    for place, clock in enumerate(("wall", "cpu")):
        figures = compare({side: [turn[place] for turn in turns if turn] for side, turns in rounds.items()})
        print(as_text(f"{len(asked)} queries, {clock} seconds", figures), flush=True)
        found[clock] = {side: one.model_dump() for side, one in figures.items()}
    return found


def check_agreement(store: Store, index: Any, asked: NDArray[np.float32], k: int) -> None:  # noqa: ANN401
    """End if the two sides do not find the same."""
    scores, rows = index.search(asked, k)
    for found, theirs, their_rows in zip(store.search(asked, k), scores, rows.tolist(), strict=True):
        ours = np.array([one.score for one in found])
        near = [str(row) == one.entry.id for row, one in zip(their_rows, found, strict=True)]
        if np.abs(ours - theirs).max() > NEAR_TIE or np.mean(near) < 0.5:
            sys.exit(f"scores are {ours} here and {theirs} there")


def seconds(task: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that a task takes: by the clock on the wall, and by that of all CPUs together."""
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
