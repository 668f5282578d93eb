"""Time `reid.evaluation.metrics.evaluate` beside fast-reid's Cython ranker.

Two things are timed, in one process, in turns, with the same number of BLAS threads:

- *ranking*: from an existing distance matrix to mAP and Rank-k;
- *distances + ranking*: from the embeddings. Ours are `distance_rows`, which never holds the whole matrix and
  compares by exact distance whatever the product leaves in doubt; the peer's are what fast-reid's evaluator computes
  with PyTorch: normalize, multiply, 1 minus.

The figures are CPU seconds, which other work on the machine lengthens less than wall seconds; with one thread on an
idle machine the two are the same.

The data is seeded and has VeRi-776's size: 1,678 queries, 11,579 gallery images, 200 vehicles, 20 cameras,
1,536 dimensions. An embedding is its vehicle's direction plus its camera's plus noise, which gives an mAP like
a trained model's. Before anything is timed, both sides must agree: to 1e-6 on mAP and R-1 of the same matrix, and to
1e-5 from the embeddings, where the peer orders near ties by the rounding of its product.

The peer is `evaluate_cy` of https://github.com/JDAI-CV/fast-reid. Build it once, in an environment with PyTorch
(the extra `train` brings it); it stays outside this repository::

    git clone https://github.com/JDAI-CV/fast-reid
    pip install cython setuptools
    make -C fast-reid/fastreid/evaluation/rank_cylib
    OMP_NUM_THREADS=1 python benchmarks/ranking.py --fastreid fast-reid --json benchmarks/results/ranking.json

Its source compiles unchanged with Cython 3.3 and numpy 2.4.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from result_files import command, environment, script_parser, write_result
from side_by_side import as_text, compare_in_turns
from torch.nn.functional import normalize

from reid.evaluation.metrics import Labels, evaluate
from reid.runtime.galleries.ranking import DistanceBlock, distance_rows

VEHICLES, CAMERAS = 200, 20
CAMERA_SHARE, NOISE = 0.8, 2.2
TOLERANCES = {"ranking": 1e-6, "distances + ranking": 1e-5}

Score: TypeAlias = tuple[float, float]
"""mAP and R-1, from 0 to 1."""
Task: TypeAlias = Callable[[], Score]
Ranker: TypeAlias = Callable[..., tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]
"""The peer's function, which returns the CMC curve, the average precisions and one more measure."""


@dataclass(frozen=True)
class Images:
    """Embeddings, float32 [N, D], with their vehicles and cameras, int64 [N]."""

    embeddings: NDArray[np.float32]
    vehicles: NDArray[np.int64]
    cameras: NDArray[np.int64]

    def labels(self) -> Labels:
        """Return the labels in the form that our evaluator takes."""
        return Labels([f"{n:04}" for n in self.vehicles], [f"c{n:03}" for n in self.cameras])


def main() -> None:
    """Generate the data, check that both sides agree, and time them."""
    options = parse()
    ranker = load_peer(options.fastreid)
    query, gallery = generate(options.queries, options.gallery, options.dims)
    results = {}
    for name, (ours, peer) in tasks(query, gallery, ranker).items():
        check_agreement(name, ours(), peer(), TOLERANCES[name])  # also the warm-up
        turns = {"reid": partial(cpu_seconds, ours), "fast-reid": partial(cpu_seconds, peer)}
        figures = compare_in_turns(turns, options.seconds)
        print(as_text(f"{name}, CPU seconds", figures))
        results[name] = {side: one.model_dump() for side, one in figures.items()}
    if options.json:
        write_result(options.json, {"command": command(), "environment": environment(), "cpu_seconds": results})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "--fastreid", type=Path, metavar="CHECKOUT", help="checkout of fast-reid with its Cython ranker built"
    )
    parser.add_argument("--queries", type=int, default=1678)
    parser.add_argument("--gallery", type=int, default=11579)
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--seconds", type=float, default=30, help="how long to take turns with a task [default: 30]")
    return parser.parse_args()


def load_peer(checkout: Path | None) -> Ranker:
    """Return the peer's `evaluate_cy`, or exit with a message about what is missing."""
    if checkout is None:
        sys.exit("--fastreid is missing: give a checkout of fast-reid with its Cython ranker built (see --help)")
    folder = checkout / "fastreid" / "evaluation" / "rank_cylib"
    sys.path.insert(0, str(folder))
    try:
        ranker: Ranker = import_module("rank_cy").evaluate_cy
    except ImportError as error:
        sys.exit(f"{folder} has no ranker to import ({error}): build it with make -C {folder}")
    return ranker


def generate(queries: int, gallery: int, dims: int) -> tuple[Images, Images]:
    """Return seeded query and gallery images of the same vehicles and cameras."""
    rng = np.random.default_rng(0)
    vehicle_direction = rng.standard_normal((VEHICLES, dims), np.float32)
    camera_direction = CAMERA_SHARE * rng.standard_normal((CAMERAS, dims), np.float32)

    def draw(count: int) -> Images:
        vehicles, cameras = rng.integers(0, VEHICLES, count), rng.integers(0, CAMERAS, count)
        vectors = vehicle_direction[vehicles] + camera_direction[cameras]
        vectors += NOISE * rng.standard_normal((count, dims), np.float32)
        return Images(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), vehicles, cameras)

    return draw(queries), draw(gallery)


def tasks(query: Images, gallery: Images, ranker: Ranker) -> dict[str, tuple[Task, Task]]:
    """Return both sides of every task that is timed: task -> (ours, the peer's)."""
    labels = query.labels(), gallery.labels()
    ids = query.vehicles, gallery.vehicles, query.cameras, gallery.cameras
    embeddings = query.embeddings, gallery.embeddings
    matrix = np.concatenate([block.values for block in distance_rows(*embeddings)])
    return {
        "ranking": (lambda: our_score([DistanceBlock(matrix)], *labels), lambda: peer_score(ranker, matrix, *ids)),
        "distances + ranking": (
            lambda: our_score(distance_rows(*embeddings), *labels),
            lambda: peer_score(ranker, peer_distances(*embeddings), *ids),
        ),
    }


def our_score(blocks: Iterable[DistanceBlock], query: Labels, gallery: Labels) -> Score:
    """Evaluate blocks of distances with this project."""
    metrics = evaluate(blocks, query, gallery)
    return float(metrics.average_precision.mean()), float((metrics.first_hit == 0).mean())


def peer_score(ranker: Ranker, distances: NDArray[np.float32], *ids: NDArray[np.int64]) -> Score:
    """Evaluate the whole matrix with the peer; `ids` are query and gallery vehicles, query and gallery cameras."""
    cmc, precisions, _ = ranker(distances, *ids, 50, False)
    return float(precisions.mean(dtype=float)), float(cmc[0])


def peer_distances(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine distances, float32 [Q, G], computed in the steps of the peer's evaluator."""
    features, others = (normalize(torch.from_numpy(side), dim=1) for side in (query, gallery))
    distances: NDArray[np.float32] = (1 - features @ others.T).numpy()
    return distances


def check_agreement(name: str, ours: Score, peer: Score, tolerance: float) -> None:
    """End if the two sides do not give the same figures."""
    print(f"{name}: mAP {100 * ours[0]:.4f}, R-1 {100 * ours[1]:.4f}")
    if max(abs(a - b) for a, b in zip(ours, peer, strict=True)) > tolerance:
        sys.exit(f"{name}: mAP and R-1 are {ours} here and {peer} there, more than {tolerance:g} apart")


def cpu_seconds(task: Task) -> float:
    """Return the CPU seconds that a task takes."""
    start = time.process_time()
    task()
    return time.process_time() - start


if __name__ == "__main__":
    main()
