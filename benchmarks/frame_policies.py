"""What it costs in mAP to embed fewer frames of a track, and what weighing them by quality is worth.

Every gallery tracklet of a data set is embedded frame by frame. Then, for each way of making one embedding of them, all
tracklets are ranked for each (T2T, without those of the query's vehicle and camera):

- every frame, and their plain mean: what all others are compared with;
- the policies of `reid.runtime.frame_policies`: the share of the frames that they embed, and their mean;
- every frame, weighed by `reid.runtime.quality`.

A camera's tracks are not like that: vehicles stand, and crops are bad. So two more data sets are made of this one:

- *standing*: a frame of each tracklet, drawn with a seed, comes 12 times more, as from a vehicle at a red light;
- *degraded*: a share of the frames, drawn with a seed, is out of focus, far away, or cut off by the picture's border;
  the plain mean, the weighted mean, and the mean of the frames that the gallery's gate admits.

How long they stand and how bad crops are is made up::

    python benchmarks/frame_policies.py BUNDLE DATA --json benchmarks/results/frame_policies.json

A difference has the 95 % interval of a paired bootstrap over queries. The model must not know the vehicles.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from result_files import command, environment, markdown_table, script_parser, write_result

from reid.data.layout import read_dataset
from reid.evaluation.metrics import Labels, Metrics, evaluate
from reid.evaluation.verification.bootstrap import paired_interval
from reid.runtime.embedding import embed
from reid.runtime.frame_policies import EveryFrame, FramePolicy, OnChange, UntilSettled
from reid.runtime.galleries.ranking import distance_rows
from reid.runtime.imaging import read_frame
from reid.runtime.normalization import normalize
from reid.runtime.opening import open_session
from reid.runtime.quality import Quality, assess, reason_to_refuse
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Tracklet

BASELINE = "every frame"
WEIGHTED, ADMITTED = "weighed by quality", "admitted frames"

POLICIES: dict[str, FramePolicy] = {
    **{f"every {k}": partial(EveryFrame, k) for k in (2, 3, 4)},
    **{f"on change, {levels} levels": partial(OnChange, levels) for levels in (8, 12, 16, 24)},
    **{f"until settled, {similarity}": partial(UntilSettled, similarity) for similarity in (0.97, 0.98, 0.99)},
}

STANDING = 12

Crops: TypeAlias = "list[tuple[NDArray[np.uint8], Quality]]"
Weights: TypeAlias = "NDArray[np.float64]"
"""What each frame of a tracklet counts; 0 for one that is not embedded."""


@dataclass
class Way:
    """One way of making an embedding of a tracklet's frames: the embeddings, and the frames that were used."""

    embeddings: list[NDArray[np.float32]] = field(default_factory=list)
    used: int = 0

    def add(self, frames: NDArray[np.float32], weights: Weights) -> None:
        """Add a tracklet's embedding."""
        self.embeddings.append(normalize((weights @ frames).astype(np.float32)))
        self.used += int(np.ceil(weights).sum())


@dataclass(frozen=True)
class Row:
    """What a way costs and saves.

    Attributes:
        frames: the share of the frames that it embeds, in percent.
        map: mAP, in percent.
        rank_1: R-1, in percent.
        map_change: the change of mAP from the plain mean of every frame, in points.
        interval: its 95 % interval.
    """

    frames: float
    map: float
    rank_1: float
    map_change: float
    interval: tuple[float, float]


def main() -> None:
    """Embed the tracklets twice, rank them in all ways, print the tables and write the result."""
    options = parse()
    tracklets = read_dataset(options.data).gallery.tracklets
    clock = Clock()
    with open_session(options.model, options.session) as session:
        card = session.info.card
        weights = {"clean": clean_weights, "standing": partial(standing_weights, np.random.default_rng(0))}
        ways = ways_of(session, tracklets, partial(as_they_are, clock), weights)
        spoil = partial(degraded, np.random.default_rng(0), options.degraded)
        ways |= ways_of(session, tracklets, spoil, {"degraded": degraded_weights})
    found = {part: rows(tracklets, of_part) for part, of_part in ways.items()}
    frames = sum(len(tracklet.frames) for tracklet in tracklets)
    text = (
        f"`{command()}`: {len(tracklets)} tracklets of {frames} frames, {frames / len(tracklets):.1f} each; quality "
        f"takes {clock.microseconds():.0f} µs a crop.\n\nThe frames as they are:\n\n{table(found['clean'])}\n"
        f"Standing, for {STANDING} frames more:\n\n{table(found['standing'])}\n"
        f"With {options.degraded:.0%} of the frames degraded:\n\n{table(found['degraded'])}"
    )
    print(text, end="")
    if options.json:
        model = {"fingerprint": card.fingerprint, "backbone": card.backbone, "session": str(session.info)}
        facts = {"command": command(), "environment": environment(), "model": model}
        facts |= {"tracklets": len(tracklets), "frames": frames, "quality_us": clock.microseconds()}
        figures = {part: {name: asdict(row) for name, row in one.items()} for part, one in found.items()}
        write_result(options.json, facts | figures, text)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("model", type=Path, metavar="BUNDLE")
    parser.add_argument("data", type=Path, metavar="DATA", help="data set whose gallery tracklets are ranked")
    parser.add_argument("--degraded", type=float, default=0.3, help="share of degraded frames [default: 0.3]")
    parser.add_argument("--session", default="auto", help="session to run [default: auto]")
    return parser.parse_args()


@dataclass
class Clock:
    """The CPU time of judging crops: the best of three a crop, since other work disturbs."""

    seconds: float = 0.0
    crops: int = 0

    def assess(self, crop: NDArray[np.uint8]) -> Quality:
        """Judge a crop."""
        best = float("inf")
        for _ in range(3):
            start = time.thread_time()
            quality = assess(crop)
            best = min(best, time.thread_time() - start)
        self.seconds, self.crops = self.seconds + best, self.crops + 1
        return quality

    def microseconds(self) -> float:
        """Return the mean."""
        return 1e6 * self.seconds / max(self.crops, 1)


def as_they_are(clock: Clock, tracklet: Tracklet) -> Crops:
    """Return a tracklet's frames and their quality."""
    crops = [read_frame(frame) for frame in tracklet.frames]
    return [(crop, clock.assess(crop)) for crop in crops]


def degraded(random: np.random.Generator, share: float, tracklet: Tracklet) -> Crops:
    """Return a tracklet's frames, some of them degraded, and their quality."""
    crops = [read_frame(frame) for frame in tracklet.frames]
    kinds = [out_of_focus, far_away, cut_off]
    return [
        kinds[random.integers(len(kinds))](random, crop) if random.random() < share else (crop, assess(crop))
        for crop in crops
    ]


def out_of_focus(random: np.random.Generator, crop: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Quality]:
    """Blur a crop by 2 to 6 % of its shorter side."""
    blurred = cv2.GaussianBlur(crop, (0, 0), random.uniform(0.02, 0.06) * min(crop.shape[:2]))
    return np.asarray(blurred, np.uint8), assess(np.asarray(blurred, np.uint8))


def far_away(random: np.random.Generator, crop: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Quality]:
    """Leave 12 to 32 pixels of a crop's shorter side."""
    scale = random.uniform(12, 32) / min(crop.shape[:2])
    small = np.asarray(cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    return small, assess(small)


def cut_off(random: np.random.Generator, crop: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Quality]:
    """Leave 25 to 60 % of a crop's width: the picture ends there, on its left."""
    height, width = crop.shape[:2]
    rest = np.ascontiguousarray(crop[:, : max(1, round(random.uniform(0.25, 0.6) * width))])
    return rest, assess(rest, (0, height, rest.shape[1], height), (10 * width, 10 * height))


def ways_of(
    session: Session,
    tracklets: Sequence[Tracklet],
    read: Callable[[Tracklet], Crops],
    weights: Mapping[str, Callable[[Crops, NDArray[np.float32]], Mapping[str, Weights]]],
) -> dict[str, dict[str, Way]]:
    """Embed all frames once, and make the tracklets' embeddings in all ways.

    Args:
        session: the model.
        tracklets: the tracklets.
        read: returns a tracklet's frames and their quality.
        weights: for each data set that is made of the frames, what returns the weights of a tracklet's frames in each
            way, from these and their embeddings.
    """
    ways: dict[str, dict[str, Way]] = {part: {} for part in weights}
    waiting: list[Crops] = []

    def source() -> Iterator[Tracklet]:
        for tracklet in tracklets:
            waiting.append(read(tracklet))
            yield Tracklet(tracklet.id, [crop for crop, _ in waiting[-1]], tracklet.camera, tracklet.vehicle)

    for embedded in embed(session, source(), keep_frames=True):
        frames = np.stack([embedded.frames[index] for index in range(len(embedded.tracklet.frames))])
        crops = waiting.pop(0)
        for part, weights_of in weights.items():
            for name, one in weights_of(crops, frames).items():
                ways[part].setdefault(name, Way()).add(frames, one)
    return ways


def clean_weights(crops: Crops, frames: NDArray[np.float32]) -> dict[str, Weights]:
    """Return the weights of frames as they are: of the policies, and of quality."""
    chosen = {name: chosen_by(policy, crops, frames) for name, policy in POLICIES.items()}
    return {BASELINE: np.ones(len(crops)), **chosen, WEIGHTED: quality_weights(crops)}


def standing_weights(random: np.random.Generator, crops: Crops, frames: NDArray[np.float32]) -> dict[str, Weights]:
    """Return the weights of frames of which one comes several times: how often the policies choose each."""
    times = np.ones(len(crops), np.int64)
    times[random.integers(len(crops))] += STANDING
    shown = np.repeat(np.arange(len(crops)), times)
    as_shown = [crops[index] for index in shown]
    chosen = {name: chosen_by(policy, as_shown, frames[shown]) for name, policy in POLICIES.items()}
    folded = {name: np.bincount(shown, weights, len(crops)) for name, weights in chosen.items()}
    return {BASELINE: times.astype(np.float64), **folded}


def degraded_weights(crops: Crops, frames: NDArray[np.float32]) -> dict[str, Weights]:
    """Return the weights of degraded frames: of quality, and of the gallery's gate."""
    admitted = np.array([float(reason_to_refuse(quality) is None) for _, quality in crops])
    kept = admitted if admitted.any() else np.ones(len(crops))
    return {BASELINE: np.ones(len(crops)), WEIGHTED: quality_weights(crops), ADMITTED: kept}


def quality_weights(crops: Crops) -> Weights:
    """Return the qualities' weights."""
    return np.array([quality.weight for _, quality in crops])


def chosen_by(policy: FramePolicy, crops: Crops, frames: NDArray[np.float32]) -> Weights:
    """Return 1 for the frames that a policy chooses, which is told of every embedding before the next frame."""
    chooser, weights = policy(), np.zeros(len(crops))
    for index, (crop, _) in enumerate(crops):
        if chooser.wants(crop):
            weights[index] = 1
            chooser.took(normalize((weights @ frames).astype(np.float32)), int(weights.sum()))
    return weights


def rows(tracklets: Sequence[Tracklet], ways: Mapping[str, Way]) -> dict[str, Row]:
    """Rank all tracklets for each in all ways, and compare these with the first."""
    labels = Labels([one.vehicle for one in tracklets], [one.camera for one in tracklets])
    metrics = {name: ranked(np.stack(way.embeddings), labels) for name, way in ways.items()}
    total, baseline = ways[BASELINE].used, metrics[BASELINE]
    return {name: row(100 * ways[name].used / total, one, baseline) for name, one in metrics.items()}


def ranked(embeddings: NDArray[np.float32], labels: Labels) -> Metrics:
    """Rank all tracklets for each."""
    return evaluate(distance_rows(embeddings, embeddings), labels, labels)


def row(frames: float, metrics: Metrics, baseline: Metrics) -> Row:
    """Compare a way with the baseline."""
    summary = metrics.summary()
    change = 100 * (metrics.average_precision - baseline.average_precision)
    return Row(frames, summary["mAP"], summary["R-1"], float(change.mean()), paired_interval(change))


def table(found: Mapping[str, Row]) -> str:
    """Return the rows as a table."""
    head = ("way", "frames embedded", "mAP", "R-1", "change of mAP")
    return markdown_table(head, [(name, *cells(row)) for name, row in found.items()])


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's figures as text."""
    low, high = row.interval
    change = f"{row.map_change:+.2f} [{low:+.2f}, {high:+.2f}]" if low != high else ""
    return f"{row.frames:.0f} %", f"{row.map:.2f}", f"{row.rank_1:.2f}", change


if __name__ == "__main__":
    main()
