"""How often a check of crops against the reference distribution finds what changed, and how often what did not.

A bundle is verified on rendered vehicles, and then meets others, in runs of four cameras: vehicles of other fleets,
seen by cameras of the reference or by new ones of the same kind. Each run is checked as it is, and then once for each
change, made to the crops of its first camera alone::

    python benchmarks/drift.py BUNDLE --seed 1 --known 12 --runs 8 --json benchmarks/results/drift.json

`--seed` and `--known` are the seed and the number of cameras of the data set that the bundle was verified on. A run is
alarmed if anything is reported of a camera that was not changed; a change is found if one is reported of the camera.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from result_files import command, environment, markdown_table, script_parser, write_result

from reid.data.synthesis.scene import Track
from reid.data.synthesis.styles import STYLES
from reid.runtime.data_drift.comparison import CameraCheck
from reid.runtime.data_drift.looks import look
from reid.runtime.data_drift.observing import Observer
from reid.runtime.data_drift.reference import Distribution, read_reference
from reid.runtime.embedding import Embedded, embed
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.queries import rank
from reid.runtime.imaging import decode
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Tracklet

CAMERAS, VEHICLES = 4, 40
TRACKLETS = 25
"""Of each camera: so many of the vehicles pass by it."""

Crop: TypeAlias = "NDArray[np.uint8]"


def turned(crop: Crop) -> Crop:
    """Turn a crop by 90 degrees."""
    return np.ascontiguousarray(np.rot90(crop))


def swapped(crop: Crop) -> Crop:
    """Swap red and blue."""
    return np.ascontiguousarray(crop[:, :, ::-1])


def enlarged(factor: int) -> Callable[[Crop], Crop]:
    """Return what makes a crop smaller by a factor, and as large as it was again."""

    def change(crop: Crop) -> Crop:
        height, width = crop.shape[:2]
        small = cv2.resize(crop, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)

    return change


def letterboxed(crop: Crop) -> Crop:
    """Pad a crop with gray to a square."""
    height, width = crop.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.full((side, side, 3), 114, np.uint8)
    square[top : top + height, left : left + width] = crop
    return square


def darkened(crop: Crop) -> Crop:
    """Leave half of the light."""
    return np.asarray(crop // 2, np.uint8)


CHANGES: dict[str, Callable[[Crop], Crop]] = {
    "turned by 90 degrees": turned,
    "red and blue swapped": swapped,
    "enlarged from 1/2": enlarged(2),
    "enlarged from 1/4": enlarged(4),
    "letterboxed": letterboxed,
    "half of the light": darkened,
}


@dataclass
class Count:
    """How many of how many, and what was reported how often."""

    found: int = 0
    tried: int = 0
    quantities: dict[str, int] = field(default_factory=dict)

    def add(self, checks: Sequence[CameraCheck]) -> None:
        """Count whether anything is reported."""
        changes = [change for check in checks for change in check.changes]
        self.tried += 1
        self.found += bool(changes)
        for change in {change.quantity for change in changes}:
            self.quantities[change] = self.quantities.get(change, 0) + 1


def main() -> None:
    """Check all runs, print the table and write the result."""
    options = parse()
    counts: dict[str, dict[str, Count]] = {}
    looking = 0.0
    with open_session(options.model, options.session, options.precision) as session:
        reference = read_reference(options.model, session.info)
        for kind, first in (("cameras of the reference", 1), ("new cameras", 1001)):
            counts[kind] = {name: Count() for name in ("unchanged", *CHANGES)}
            for number in range(options.runs):
                start = first + number * CAMERAS % (options.known - CAMERAS + 1 if first == 1 else 1000)
                tracklets = film(options.seed, range(start, start + CAMERAS), 10_000 + number * 100)
                looking = max(looking, microseconds(tracklets))
                check_run(session, reference, tracklets, counts[kind])
    sizes = f"{options.runs} runs of each kind, {CAMERAS} cameras of {TRACKLETS} tracklets each"
    text = f"`{command()}`: {sizes}; measuring a crop takes {looking:.0f} µs at most.\n\n{table(counts)}"
    print(text, end="")
    if options.json:
        facts = {"command": command(), "environment": environment(), "look_us": looking}
        found = {kind: {name: asdict(one) for name, one in each.items()} for kind, each in counts.items()}
        write_result(options.json, facts | found, text)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("model", type=Path, metavar="BUNDLE", help="exported with --verify on rendered vehicles")
    parser.add_argument("--seed", type=int, default=1, help="seed of that data set [default: 1]")
    parser.add_argument("--known", type=int, default=12, help="number of its cameras [default: 12]")
    parser.add_argument("--runs", type=int, default=8, help="runs of each kind [default: 8]")
    parser.add_argument("--session", default="auto", help="session to run [default: auto]")
    parser.add_argument("--precision", default="fp32", help="precision to run [default: fp32]")
    return parser.parse_args()


def film(seed: int, cameras: Sequence[int], first_vehicle: int) -> list[Tracklet]:
    """Render what cameras see of vehicles that pass by some of them, as a data set has it."""
    tracklets = []
    for camera in cameras:
        rng = np.random.default_rng([seed, 90, camera, first_vehicle])
        passing = sorted(rng.choice(VEHICLES, TRACKLETS, replace=False) + first_vehicle)
        tracks = [Track(int(one), camera, 0, tuple(range(rng.integers(4, 9)))) for one in passing]
        for track, shots in zip(tracks, STYLES["plain"].shoot(seed, camera, tracks), strict=True):
            crops = [compressed(*shot) for shot in shots]
            tracklets.append(Tracklet(f"{track.vehicle}_{camera}", crops, f"c{camera:03d}", str(track.vehicle)))
    return tracklets


def compressed(crop: Crop, quality: int) -> Crop:
    """Return a crop as it comes out of a JPEG file."""
    _, content = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return decode(content.tobytes(), "crop")


def microseconds(tracklets: Sequence[Tracklet]) -> float:
    """Return the CPU time of measuring a crop."""
    crops = [frame for one in tracklets[:TRACKLETS] for frame in one.frames]
    start = time.thread_time()
    for crop in crops:
        look(crop)
    return 1e6 * (time.thread_time() - start) / len(crops)


def check_run(
    session: Session, reference: Distribution, tracklets: Sequence[Tracklet], counts: dict[str, Count]
) -> None:
    """Check a run as it is, and after each change of its first camera."""
    plain = list(embed(session, tracklets, look=look))
    first = tracklets[0].camera
    counts["unchanged"].add(checked(session, reference, plain))
    own = [one for one in tracklets if one.camera == first]
    for name, change in CHANGES.items():
        altered = [Tracklet(one.id, [change(frame) for frame in one.frames], one.camera, one.vehicle) for one in own]
        run = [*embed(session, altered, look=look), *(one for one in plain if one.tracklet.camera != first)]
        counts[name].add([one for one in checked(session, reference, run) if one.camera == first])


def checked(session: Session, reference: Distribution, run: Sequence[Embedded]) -> tuple[CameraCheck, ...]:
    """Check embedded tracklets that are gallery and queries at once."""
    observer = Observer(reference.center)
    for one in run:
        observer.take(one)
    gallery = MemoryGallery.collect(run, session.info.space)
    for ranking in rank(gallery, run, len(run)):
        observer.take_ranking(ranking)
    return observer.compared(reference)


def table(counts: dict[str, dict[str, Count]]) -> str:
    """Return the counts as a table."""
    head = ("change of the first camera", *(f"reported, {kind}" for kind in counts), "by")
    rows = []
    for name in ("unchanged", *CHANGES):
        found = [one[name] for one in counts.values()]
        by = sorted({quantity for one in found for quantity in one.quantities})
        rows.append((name, *(f"{one.found} of {one.tried}" for one in found), ", ".join(by)))
    return markdown_table(head, rows)


if __name__ == "__main__":
    main()
