"""Eight cameras at once, as a network delivers them, and one identity for each vehicle over all of them.

The gallery of a data set in VeRi-776's layout is replayed: the eight cameras that see most tracks, all on one clock.
Some frames never arrive, some arrive late, after those that follow them, and some arrive twice. Tracks are embedded
while they grow; each gets an identity when it ends. How long vehicles take from camera to camera is learned from the
training vehicles, and from which score two tracks show one vehicle is the bundle's operating point::

    reid-export --verify VeRi
    python examples/eight_cameras.py bundle VeRi --gallery seen

It ends with IDF1 over all cameras: the share of the frames that have the right identity. The gallery then holds the
tracks and their identities; `reid-gallery info seen` counts them.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid import ReidError, open_session, read_dataset
from reid.data.travel import learn_travel
from reid.evaluation.identities import evaluate_identities
from reid.runtime.association.associate import Associator, threshold_of
from reid.runtime.file_names import parse_name
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.opening import writable_gallery
from reid.runtime.galleries.protocol import GrowingGallery
from reid.runtime.galleries.travel_times import TravelTimes
from reid.runtime.live.keeping import as_seen, keep
from reid.runtime.live.stream import StreamEndedError, TrackletStream
from reid.runtime.quality import weight
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Tracklet

CAMERAS = 8
LOST, TWICE, LATEST_S = 0.1, 0.1, 2.0
"""Shares of the frames that never arrive and that arrive twice, and the longest that one takes."""

ROOM = 256


@dataclass(frozen=True)
class Recorded:
    """A track on disk, and when its frames were taken, in seconds."""

    tracklet: Tracklet
    times_s: tuple[float, ...]


@dataclass(frozen=True)
class Arriving:
    """A frame on its way; the last one of its track ends it."""

    at_s: float
    track: int
    frame: int
    last: bool


def main() -> None:
    """Replay, associate, and say what became of the tracks."""
    options = parse()
    try:
        data = read_dataset(options.data)
        tracks = seen_by_most(recorded(data.gallery.tracklets, options.clock), CAMERAS)
        travel = learn_travel(entries(recorded(data.train.tracklets, options.clock)))
        print(f"{len(tracks)} tracks; travel times between {len(travel.limits)} pairs of cameras")
        with open_session(options.model, options.session) as session, gallery_of(options.gallery, session) as gallery:
            threshold = threshold_of(session.info, options.false_match_rate)
            for name, found in identify(session, tracks, travel, threshold, gallery).items():
                report(name, tracks, found)
    except ReidError as error:
        sys.exit(f"error: {error}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="BUNDLE")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--gallery", metavar="GALLERY", help="keep the tracks and their identities there")
    parser.add_argument("--session", default="auto", help="session to run [default: auto]")
    parser.add_argument("--false-match-rate", type=float, default=0.01, help="of the operating point [default: 0.01]")
    parser.add_argument("--clock", type=float, default=25, help="ticks a second of the times in names [default: 25]")
    return parser.parse_args()


def gallery_of(source: str | None, session: Session) -> contextlib.AbstractContextManager[GrowingGallery | None]:
    """Return the gallery that tracks go to, if any."""
    return writable_gallery(source, session.info.space) if source else contextlib.nullcontext()


def recorded(tracklets: Iterable[Tracklet], ticks_per_s: float) -> list[Recorded]:
    """Return tracks with the times that their files' names tell."""
    tracks = []
    for tracklet in tracklets:
        names = [parse_name(Path(str(frame)).name) for frame in tracklet.frames]
        tracks.append(Recorded(tracklet, tuple(name.time / ticks_per_s for name in names if name)))
    return [track for track in tracks if len(track.times_s) == len(track.tracklet.frames)]


def seen_by_most(tracks: Sequence[Recorded], cameras: int) -> list[Recorded]:
    """Return the tracks of the cameras that see most."""
    busiest = {camera for camera, _ in Counter(track.tracklet.camera for track in tracks).most_common(cameras)}
    return [track for track in tracks if track.tracklet.camera in busiest]


def entries(tracks: Iterable[Recorded]) -> Iterator[Entry]:
    """Yield what is known of tracks: where, when, and which vehicle."""
    for number, track in enumerate(tracks):
        middle = (track.times_s[0] + track.times_s[-1]) / 2
        yield Entry(str(number), track.tracklet.camera, track.tracklet.vehicle, middle)


def arriving(tracks: Sequence[Recorded]) -> list[Arriving]:
    """Return the frames in the order in which they arrive: some never, some twice, all a little late."""
    random = np.random.default_rng(0)
    frames = []
    for number, track in enumerate(tracks):
        times = random.choice(3, size=len(track.times_s), p=(LOST, 1 - LOST - TWICE, TWICE))
        shown = np.repeat(np.arange(len(track.times_s)), times)
        at_s = np.array(track.times_s)[shown] + random.uniform(0, LATEST_S, len(shown))
        order = np.argsort(at_s)
        frames += [Arriving(float(at_s[one]), number, int(shown[one]), one == order[-1]) for one in order]
    return sorted(frames, key=lambda frame: frame.at_s)


def identify(
    session: Session, tracks: Sequence[Recorded], travel: TravelTimes, threshold: float, gallery: GrowingGallery | None
) -> dict[str, dict[str, int]]:
    """Return the identities of the tracks of which frames arrived, by the tracks' names: without travel and with.

    The gallery gets the last of these: a track with its identity as its vehicle, as soon as it has one.
    """
    associators = {"embeddings alone": Associator(threshold)}
    if travel.limits:
        associators["with travel times"] = Associator(threshold, travel=travel)
    found: dict[str, dict[str, int]] = {name: {} for name in associators}
    with TrackletStream(session, room=ROOM, weigh=weight) as stream:
        threading.Thread(target=replay, args=(tracks, stream), daemon=True).start()
        for track in stream:
            name = str(track.id)
            if seen := as_seen(track, name):
                identities = [associator.add([seen])[name] for associator in associators.values()]
                for of_way, identity in zip(found.values(), identities, strict=True):
                    of_way[name] = identity
                if gallery is not None:
                    keep(track, name, gallery, vehicle=str(identities[-1]))
    return found


def replay(tracks: Sequence[Recorded], stream: TrackletStream) -> None:
    """Push all frames, as fast as the model takes them: without the wait, frames would be dropped and counted."""
    with contextlib.suppress(StreamEndedError):  # whoever takes the tracks hears why
        for frame in arriving(tracks):
            while waiting(stream) > ROOM // 2:
                time.sleep(0.01)
            track = tracks[frame.track]
            shown, camera = track.tracklet.frames[frame.frame], track.tracklet.camera
            stream.add(str(frame.track), shown, camera=camera, time_s=track.times_s[frame.frame])
            if frame.last:
                stream.finish(str(frame.track), camera)
        stream.end()


def waiting(stream: TrackletStream) -> int:
    """Return how many frames wait for the model."""
    return sum(one.waiting for one in stream.counts().values())


def report(name: str, tracks: Sequence[Recorded], found: Mapping[str, int]) -> None:
    """Print how right the identities are; a track of which nothing arrived has none."""
    vehicles = [track.tracklet.vehicle for track in tracks]
    identities = [found.get(str(number)) for number in range(len(tracks))]
    metrics = evaluate_identities(vehicles, identities, [len(track.times_s) for track in tracks])
    counts = f"{metrics.found_identities} identities for {metrics.true_identities} vehicles"
    shares = {"IDF1": metrics.f1, "IDP": metrics.precision, "IDR": metrics.recall}
    print(f"{name}: {counts}, {', '.join(f'{share} {100 * value:.2f}' for share, value in shares.items())}")


if __name__ == "__main__":
    main()
