"""Time the search of a stored gallery beside faiss's flat index, and what it takes to open it.

Both sides search the same embeddings exactly, in one process, in turns, with the same number of threads. Ours reads
them from its folder, through the page cache; faiss holds them in memory. Before anything is timed, both have to find
the same entries, but for near ties, which faiss orders by the rounding of its product.

The embeddings are seeded: as many vehicles as a tenth of the gallery, each a direction plus noise. The first search of
all, in which every checksum is compared, is reported by itself. So are the time to open the gallery and the private
memory that opening it and searching it took; the peer's index is not in it.

    pip install faiss-cpu
    OMP_NUM_THREADS=2 python benchmarks/gallery_store.py --gallery 1000000 --dims 1536 --folder /data/tmp
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from result_files import command, environment, script_parser, write_result
from side_by_side import as_text, compare_in_turns

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
        before = private_bytes()
        store, once = open_once(path, next(generate(1, options.dims, options.gallery // 10)), options.k)
        once["private_bytes"] = private_bytes() - before
        print("once:", once)
        figures = {str(queries): beside(store, index, queries, options) for queries in options.queries}
    if options.json:
        facts = {"once": once, "seconds": figures}
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


def open_once(path: Path, query: NDArray[np.float32], k: int) -> tuple[Store, dict[str, float]]:
    """Open the gallery; return it with the seconds that this and the first search took."""
    start = time.perf_counter()
    store = Store.open(path)
    opened = time.perf_counter()
    store.search(query[:1], k)
    return store, {"open_s": opened - start, "first_search_s": time.perf_counter() - opened}


def private_bytes() -> int:
    """Return the memory of this process that is no page cache."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def beside(store: Store, index: Any, queries: int, options: argparse.Namespace) -> dict[str, Any]:  # noqa: ANN401
    """Time both sides with so many queries at once."""
    asked = next(generate(queries, options.dims, options.gallery // 10))
    check_agreement(store, index, asked, options.k)
    turns = {
        "reid": partial(seconds, lambda: store.search(asked, options.k)),
        "faiss": partial(seconds, lambda: index.search(asked, options.k)),
    }
    figures = compare_in_turns(turns, options.seconds)
    print(as_text(f"{queries} queries, seconds", figures), flush=True)
    return {side: one.model_dump() for side, one in figures.items()}


def check_agreement(store: Store, index: Any, asked: NDArray[np.float32], k: int) -> None:  # noqa: ANN401
    """End if the two sides do not find the same."""
    scores, rows = index.search(asked, k)
    for found, theirs, their_rows in zip(store.search(asked, k), scores, rows.tolist(), strict=True):
        ours = np.array([one.score for one in found])
        near = [str(row) == one.entry.id for row, one in zip(their_rows, found, strict=True)]
        if np.abs(ours - theirs).max() > NEAR_TIE or np.mean(near) < 0.5:
            sys.exit(f"scores are {ours} here and {theirs} there")


def seconds(task: Callable[[], object]) -> float:
    """Return the seconds that a task takes."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
