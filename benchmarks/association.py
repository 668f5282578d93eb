"""What makes a track's score with an identity: IDF1 of four ways, over thresholds, beside the operating point's.

All gallery tracklets of a data set in VeRi-776's layout come in when they end, and get identities as
`reid.runtime.association` gives them, but for the score, which is made of the cosine similarities to the identity's
tracks:

- *mean*: their mean, as in `associate`, whose identities are checked to be the same;
- *centroid*: the similarity to the normalized sum of the tracks' embeddings;
- *best two* and *best*: the mean of the two highest, and the highest alone.

The operating point is one of pairs of tracks, so a way whose best threshold is near it needs no tuning::

    python benchmarks/association.py BUNDLE DATA --json benchmarks/results/association.json
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from result_files import command, environment, markdown_table, script_parser, write_result

from reid.data.layout import read_dataset
from reid.evaluation.identities import evaluate_identities
from reid.runtime.association.associate import associate, threshold_of
from reid.runtime.association.tracks import SeenTrack, by_end, compatible
from reid.runtime.embedding import Embedded, embed
from reid.runtime.errors import ModelError
from reid.runtime.file_names import parse_name
from reid.runtime.galleries.travel_times import TravelTimes
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import Session

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(9))
RATE = 0.01

Score: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], float]
"""The score of a track with an identity, of a row of similarities [m], and the members' similarities [m, m]."""

SCORES: dict[str, Score] = {
    "mean": lambda row, _: float(row.mean()),
    "centroid": lambda row, members: float(row.sum() / np.sqrt(members.sum())),
    "best two": lambda row, _: float(np.sort(row)[-2:].mean()),
    "best": lambda row, _: float(row.max()),
}


@dataclass(frozen=True)
class Labeled:
    """A track, its vehicle and the number of its frames."""

    track: SeenTrack
    vehicle: str
    frames: int


def main() -> None:
    """Embed the tracks, associate them in all ways, print the table and write the result."""
    options = parse()
    with open_session(options.model, options.session) as session:
        threshold = operating_threshold(session)
        labeled = embedded_tracks(session, options)
    thresholds = sorted({*THRESHOLDS, threshold} if threshold else THRESHOLDS)
    f1 = {name: {at: naive(labeled, score, at) for at in thresholds} for name, score in SCORES.items()}
    start = time.perf_counter()
    found = {at: identities_f1(labeled, associate([one.track for one in labeled], at)) for at in thresholds}
    ms_per_track = 1000 * (time.perf_counter() - start) / (len(labeled) * len(thresholds))
    assert found == f1["mean"], "associate gives other identities than the naive program"
    point = f"The operating point at {RATE:g} is {threshold:.3f}.\n\n" if threshold else ""
    text = f"`{command()}`: IDF1 of {len(labeled)} tracks, percent. {point}{table(f1, thresholds)}"
    print(text, end="")
    if options.json:
        rows = {name: {f"{at:g}": value for at, value in of_way.items()} for name, of_way in f1.items()}
        facts = {"command": command(), "environment": environment(), "tracks": len(labeled), "threshold": threshold}
        write_result(options.json, facts | {"ms_per_track": ms_per_track, "idf1": rows}, text)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("model", type=Path, metavar="BUNDLE")
    parser.add_argument("data", type=Path, metavar="DATA", help="data set whose gallery tracklets are associated")
    parser.add_argument("--session", default="auto", help="session to run [default: auto]")
    parser.add_argument("--clock", type=float, default=25, help="ticks a second of the times in names [default: 25]")
    return parser.parse_args()


def operating_threshold(session: Session) -> float | None:
    """Return the threshold of the bundle's operating point for tracklets; None if it has none."""
    with contextlib.suppress(ModelError):
        return threshold_of(session.info, RATE)
    return None


def embedded_tracks(session: Session, options: argparse.Namespace) -> list[Labeled]:
    """Return the gallery's tracks, in the order of their ends."""
    tracklets = read_dataset(options.data).gallery.tracklets
    labeled = [as_labeled(str(n), one, options.clock) for n, one in enumerate(embed(session, tracklets))]
    by_name = {one.track.id: one for one in labeled}
    return [by_name[track.id] for track in by_end(one.track for one in labeled)]


def as_labeled(name: str, embedded: Embedded, ticks_per_s: float) -> Labeled:
    """Return a track with the times that its files' names tell."""
    tracklet = embedded.tracklet
    names = [parse_name(Path(str(frame)).name) for frame in tracklet.frames]
    times = [one.time / ticks_per_s for one in names if one]
    assert embedded.embedding is not None
    assert tracklet.camera is not None
    assert tracklet.vehicle is not None
    track = SeenTrack(name, tracklet.camera, min(times), max(times), embedded.embedding)
    return Labeled(track, tracklet.vehicle, len(tracklet.frames))


def naive(labeled: Sequence[Labeled], score: Score, threshold: float) -> float:
    """Associate one track after another, and return IDF1."""
    embeddings = np.stack([one.track.embedding for one in labeled]).astype(np.float64)
    pairs = np.round(embeddings @ embeddings.T, 6)
    identities: list[list[int]] = []
    found: dict[str, int] = {}
    for row, one in enumerate(labeled):
        scores = [score(pairs[row, members], pairs[np.ix_(members, members)]) for members in identities]
        ranked = sorted(
            (number for number in range(len(scores)) if scores[number] >= threshold), key=lambda n: -scores[n]
        )
        possible = (
            n for n in ranked if compatible(one.track, [labeled[m].track for m in identities[n]], TravelTimes({}))
        )
        number = next(possible, len(identities))
        if number == len(identities):
            identities.append([])
        identities[number].append(row)
        found[one.track.id] = number
    return identities_f1(labeled, found)


def identities_f1(labeled: Sequence[Labeled], found: Mapping[str, int]) -> float:
    """Return IDF1 in percent."""
    columns = [[one.vehicle for one in labeled], [found[one.track.id] for one in labeled]]
    return 100 * evaluate_identities(*columns, [one.frames for one in labeled]).f1


def table(f1: Mapping[str, Mapping[float, float]], thresholds: Sequence[float]) -> str:
    """Return the ways as rows, the thresholds as columns."""
    rows = [(name, *(f"{of_way[at]:.2f}" for at in thresholds)) for name, of_way in f1.items()]
    return markdown_table(("score", *(f"{at:.3g}" for at in thresholds)), rows)


if __name__ == "__main__":
    main()
