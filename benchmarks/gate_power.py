"""How often the gate is wrong: false alarms and power, on simulated data, at 50 to 2,000 queries.

A draw is a data set like VeRi-776 (8 queries and 18 gallery images a vehicle, from 6 of 20 cameras),
whose embeddings are a vehicle's direction plus a camera's plus noise, which gives an mAP like a trained model's. The
candidate's embeddings are the same with an error of their own in each. Every draw is a new data set with new errors,
ranked and judged by the gate's own code in all three protocols: mAP, Rank-k and the operating points, together.

- *FP16*: the errors leave a cosine similarity of 0.9999. Whatever is refused is a false alarm.
- *a fall of mAP by 1.0 and 2.0 points*, twice and four times the tolerance: errors so large that I2I mAP falls by as
  much on average. What is not refused is missed. Beside it: how often R-1 alone was enough, with the true fall of R-1.

    python benchmarks/gate_power.py --draws 50000 --json benchmarks/results/gate_power.json

The table for docs/verification.md is printed; see `table`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from result_files import command, markdown_table, script_parser, write_result

from reid.data.dataset import Split
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData
from reid.evaluation.verification.compare import measure
from reid.evaluation.verification.judgment import judge_protocols
from reid.evaluation.verification.records import ProtocolComparison, Tolerance
from reid.evaluation.verification.retrieval import rank
from reid.runtime.normalization import normalize
from reid.runtime.tracklet import Tracklet

QUERIES = (50, 100, 334, 700, 1678, 2000)
FALLS = (1.0, 2.0)
CAMERAS, SEEN_BY, DIMENSIONS = 20, 6, 64
GALLERY_IMAGES, QUERY_IMAGES = 18, 8
CAMERA_SHARE, NOISE = 0.8, 1.2
FP16_SIMILARITY = 0.9999
LARGE = 2000


@dataclass(frozen=True)
class Case:
    """What the gate said of many draws.

    Attributes:
        perturbation: the kind of error.
        queries: the number of queries.
        draws: the number of draws.
        refused: the share that was refused, in percent.
        by_rank_1: the share in which I2I R-1 alone was outside tolerance, in percent.
        undecided: the share that was neither refused nor within tolerance in everything, in percent.
        map_fall: the mean fall of I2I mAP, in points.
        rank_1_fall: the mean fall of I2I R-1, in points.
    """

    perturbation: str
    queries: int
    draws: int
    refused: float
    by_rank_1: float
    undecided: float
    map_fall: float
    rank_1_fall: float


def data_set(queries: int, random: np.random.Generator) -> EmbeddedData:
    """Return a data set of about so many queries, embedded by the reference."""
    vehicles = max(4, round(queries / QUERY_IMAGES))
    cameras = random.normal(size=(CAMERAS, DIMENSIONS)) * CAMERA_SHARE
    asked: list[Tracklet] = []
    own: list[Tracklet] = []
    images: list[Tracklet] = []
    tracks: list[Tracklet] = []
    embeddings: dict[tuple[Path, ...], NDArray[np.float32]] = {}
    for vehicle in range(vehicles):
        center = random.normal(size=DIMENSIONS)
        seen_by = random.choice(CAMERAS, SEEN_BY, replace=False)
        for camera in seen_by:
            count = GALLERY_IMAGES // SEEN_BY
            frames = tuple(Path(f"{vehicle}_{camera}_{number}") for number in range(count))
            points = center + cameras[camera] + NOISE * random.normal(size=(count + 2, DIMENSIONS))
            rows = normalize(points.astype(np.float32))
            labels = {"camera": str(camera), "vehicle": str(vehicle)}
            track = Tracklet(f"{vehicle}_{camera}", frames, **labels)
            tracks.append(track)
            images += [Tracklet(str(frame), (frame,), **labels) for frame in frames]
            embeddings |= {(frame,): row for frame, row in zip(frames, rows, strict=False)}
            for number in range(2):
                frame = Path(f"q{vehicle}_{camera}_{number}")
                asked.append(Tracklet(str(frame), (frame,), **labels))
                own.append(track)
                embeddings[(frame,)] = rows[count + number]
    chosen = np.sort(random.permutation(len(asked))[:queries])
    query = Split(tuple(asked[one] for one in chosen), tuple(own[one] for one in chosen))
    return with_tracklets(EmbeddedData(query, Split(tuple(images), tuple(tracks)), embeddings, ()))


def with_tracklets(data: EmbeddedData) -> EmbeddedData:
    """Return data whose tracklets have the mean of their frames' embeddings."""
    embeddings = {key: row for key, row in data.embeddings.items() if len(key) == 1}
    for track in data.gallery.tracklets:
        mean = np.mean([embeddings[(frame,)] for frame in track.frames], axis=0)
        embeddings[track.frames] = normalize(mean[None].astype(np.float32))[0]
    return replace(data, embeddings=embeddings)


def perturbed(data: EmbeddedData, similarity: float, random: np.random.Generator) -> EmbeddedData:
    """Return the data with an error in each frame's embedding, which leaves this cosine similarity on average."""
    keys = [key for key in data.embeddings if len(key) == 1]
    rows = data.rows(keys)
    size = np.sqrt((1 / similarity**2 - 1) / rows.shape[1])
    rows = normalize(rows + size * random.normal(size=rows.shape).astype(np.float32))
    return with_tracklets(replace(data, embeddings=dict(zip(keys, rows, strict=True))))


def judged(reference: EmbeddedData, candidate: EmbeddedData) -> tuple[ProtocolComparison, ...]:
    """Return what the gate says."""
    pairs = ([rank(data, one) for data in (reference, candidate)] for one in PROTOCOLS.values())
    return judge_protocols([measure(*pair, Tolerance()) for pair in pairs])


def case(perturbation: str, similarity: float, queries: int, draws: int, seed: int) -> Case:
    """Judge draws of one size."""
    found = []
    for draw in range(draws):
        random = np.random.default_rng([seed, queries, draw])
        data = data_set(queries, random)
        found.append(judged(data, perturbed(data, similarity, random)))
    verdicts = [{change.verdict for one in protocols for change in one.changes} for protocols in found]
    first = [protocols[0] for protocols in found]
    return Case(
        perturbation,
        queries,
        draws,
        refused=_percent(["outside" in one for one in verdicts]),
        by_rank_1=_percent([one.change("R-1").verdict == "outside" for one in first]),
        undecided=_percent(["outside" not in one and "undecided" in one for one in verdicts]),
        map_fall=-float(np.mean([one.change("mAP").difference for one in first])),
        rank_1_fall=-float(np.mean([one.change("R-1").difference for one in first])),
    )


def similarity_of(fall: float, seed: int = 1) -> float:
    """Return the similarity at which I2I mAP falls by so many points on average: by bisection on large data sets."""
    low, high = 1e-4, 0.05
    for _ in range(8):
        middle = float(np.sqrt(low * high))
        random = np.random.default_rng([seed, 7])
        falls = []
        for _ in range(2):
            data = data_set(LARGE, random)
            before, after = (rank(one, PROTOCOLS["i2i"]) for one in (data, perturbed(data, 1 - middle, random)))
            falls.append(before.summary()["mAP"] - after.summary()["mAP"])
        low, high = (low, middle) if np.mean(falls) > fall else (middle, high)
    return 1 - low


def _percent(which: Sequence[bool]) -> float:
    return 100 * float(np.mean(which))


def table(cases: Sequence[Case]) -> str:
    """Return the table of docs/verification.md."""
    counts, rates = ["queries", "draws"], ["refused", "by R-1 of I2I alone", "in part undecided"]
    return markdown_table(["true change", *counts, *rates, "mAP fell", "R-1 fell"], [cells(one) for one in cases])


def cells(one: Case) -> list[str]:
    """Return a row of the table."""
    rates = [f"{one.refused:.1f} %", f"{one.by_rank_1:.1f} %", f"{one.undecided:.0f} %"]
    return [
        one.perturbation,
        f"{one.queries:,}",
        f"{one.draws}",
        *rates,
        f"{one.map_fall:.2f}",
        f"{one.rank_1_fall:.2f}",
    ]


def main() -> None:
    """Run all cases, print the table, and store the figures."""
    parser = script_parser(__doc__)
    parser.add_argument("--draws", type=int, default=50_000, help="queries of all draws of a case, 300 draws at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--queries", type=int, nargs="+", default=QUERIES)
    given = parser.parse_args()
    kinds = {"FP16, similarity 0.9999": FP16_SIMILARITY}
    kinds |= {f"mAP falls by {fall:g}": similarity_of(fall) for fall in FALLS}
    cases: list[Case] = []
    for (kind, similarity), queries in product(kinds.items(), given.queries):
        cases.append(case(kind, similarity, queries, min(300, given.draws // queries), given.seed))
        print(f"{similarity:.6f} {asdict(cases[-1])}", file=sys.stderr)
    print(table(cases))
    if given.json:
        facts = {"similarities": kinds, "tolerance": Tolerance().model_dump(), "cases": [asdict(one) for one in cases]}
        caption = f"`{command()}`: simulated data, new in each draw."
        write_result(given.json, facts, f"{caption}\n\n{table(cases)}")


if __name__ == "__main__":
    main()
