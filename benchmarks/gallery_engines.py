"""Time the search of a gallery in LanceDB beside our own store, exactly and with LanceDB's index.

All hold the same seeded embeddings and are searched in one process, in turns. Exact search has to find the same on both
sides, bit for bit. LanceDB takes as many threads as there are cores: `taskset` limits it, and numpy takes
OMP_NUM_THREADS.

    pip install 'reid[lance]'
    OMP_NUM_THREADS=2 taskset -c 0,1 python benchmarks/gallery_engines.py --gallery 100000 --dims 1536
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gallery_store import generate
from numpy.typing import NDArray
from result_files import command, environment, script_parser, write_result
from side_by_side import as_text

from reid.bench.estimates import estimate
from reid.bench.rounds import take_rounds
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.lance.gallery import LanceGallery
from reid.runtime.galleries.protocol import GrowingGallery
from reid.runtime.galleries.store.store import Store
from reid.runtime.space import Space


def main() -> None:
    """Fill both sides, check that they agree, and time them."""
    options = parse()
    space = Space("f" * 64, "fp32", options.dims)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        paths = {"store": Path(folder) / "store", "lance": Path(folder) / "lance"}
        once: dict[str, Any] = {}
        with Store.create(paths["store"], space) as store, LanceGallery.create(paths["lance"], space) as lance:
            for name, gallery in (("store", store), ("lance", lance)):
                once[f"{name}_added_a_second"] = options.gallery / seconds(partial(fill, gallery, options))
                once[f"{name}_bytes"] = size_of(paths[name])
            once["compact_s"] = seconds(lance.compact)
            once["index_s"] = seconds(lambda: once.update(recall=lance.index(options.probes, options.k).share))
            once["lance_bytes_indexed"] = size_of(paths["lance"])
        print("once:", once, flush=True)
        near = LanceGallery.open(f"lance://{paths['lance']}?probes={options.probes}")
        sides = {"store": Store.open(paths["store"]), "lance": LanceGallery.open(paths["lance"]), "lance, index": near}
        figures = {str(queries): beside(sides, queries, options) for queries in options.queries}
    if options.json:
        facts = {"once": once, "seconds": figures}
        write_result(options.json, {"command": command(), "environment": environment(), **facts})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--probes", type=int, default=20)
    parser.add_argument("--piece", type=int, default=10_000, help="entries that are added at once [default: 10000]")
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 16, 256], help="queries of one search")
    parser.add_argument("--folder", type=Path, help="where galleries are written [default: the temporary folder]")
    parser.add_argument("--seconds", type=float, default=20, help="how long to take turns with a size [default: 20]")
    return parser.parse_args()


def fill(gallery: GrowingGallery, options: argparse.Namespace) -> None:
    """Add the embeddings."""
    row = 0
    for chunk in generate(options.gallery, options.dims, options.gallery // 10):
        for start in range(0, len(chunk), options.piece):
            piece = chunk[start : start + options.piece]
            gallery.add([Entry(str(at), f"c{at % 20}", None, float(at)) for at in range(row, row + len(piece))], piece)
            row += len(piece)


def size_of(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def beside(sides: dict[str, Any], queries: int, options: argparse.Namespace) -> dict[str, Any]:
    """Time all sides with so many queries at once."""
    asked: NDArray[np.float32] = next(generate(queries, options.dims, options.gallery // 10))
    exact, near = (sides[name].search(asked, options.k) for name in ("store", "lance, index"))
    if sides["lance"].search(asked, options.k) != exact:
        raise SystemExit("the two do not find the same")
    share = np.mean([len({*some} & {*best}) / len(best) for some, best in zip(near, exact, strict=True)])
    print(f"{queries} queries: the index finds {share:.4f}")
    turns = {name: partial(seconds, partial(side.search, asked, options.k)) for name, side in sides.items()}
    rounds = take_rounds([*turns], lambda name: turns[name](), seconds=options.seconds)
    figures = {name: estimate([time for time in times if time is not None]) for name, times in rounds.items()}
    print(as_text(f"{queries} queries, seconds", figures), flush=True)
    return {side: one.model_dump() for side, one in figures.items()}


def seconds(task: Callable[[], object]) -> float:
    """Return the seconds that a task takes."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
