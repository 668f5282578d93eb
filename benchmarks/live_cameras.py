"""Cameras whose frames have names in their pixels, and a session that computes by these what a stream should give."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.live.stream import TrackletStream
from reid.runtime.live.tracks import LiveTrack
from reid.runtime.model_card import Level, ModelCard, Preprocessing
from reid.runtime.quality import Quality
from reid.runtime.sessions.session import BatchLimits, Embeddings, SessionInfo

__all__ = ["Camera", "Check", "Projection", "too_small"]

TRACKS = 6
SIDE, DIMENSIONS = 16, 256
TOLERANCE = 1e-5


class Projection:
    """Embeds frames by a fixed projection, in a fixed time, and adds up what it has embedded, by the frames' names."""

    limits = BatchLimits(32, 32)

    def __init__(self, frames_per_s: float) -> None:
        card = ModelCard(
            format_version=1,
            fingerprint="projection",
            backbone="none",
            levels=(Level(name="level0", size=DIMENSIONS),),
            preprocessing=Preprocessing(height=SIDE, width=SIDE, mean=(0.5,) * 3, std=(0.5,) * 3),
        )
        self.info = SessionInfo("projection", "1", "CPU", "fp32", card)
        self.sums: dict[bytes, list[Any]] = defaultdict(lambda: [0, 0.0])
        self._matrix = np.random.default_rng(0).normal(size=(3 * SIDE * SIDE, DIMENSIONS)).astype(np.float32)
        self._frame_s = 1 / frames_per_s

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        """See Session.compute."""
        ready = time.monotonic() + self._frame_s * len(frames)
        embeddings = (frames.reshape(len(frames), -1) / np.float32(255) - np.float32(0.5)) @ self._matrix
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        for position in np.flatnonzero(pooling.any(axis=0)):
            of_track = self.sums[name_in(frames[position].transpose(1, 2, 0))]
            of_track[0] += 1
            of_track[1] = of_track[1] + embeddings[position].astype(np.float64)
        time.sleep(max(0.0, ready - time.monotonic()))
        return Embeddings(embeddings, pooling @ embeddings)

    def close(self) -> None:
        """See Session.close."""

    def __enter__(self) -> Projection:
        return self

    def __exit__(self, *exception: object) -> None: ...


def too_small(quality: Quality) -> str | None:
    """Refuse what is smaller than a frame."""
    return "too small" if quality.pixels < SIDE else None


def name_in(frame: NDArray[np.uint8]) -> bytes:
    """Return the name of a track that is in a frame's first pixels."""
    return frame[0, :2].tobytes()


def named_frame(name: bytes, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return a frame of noise with a track's name, of 6 bytes."""
    frame = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    frame[0, :2] = np.frombuffer(name, np.uint8).reshape(2, 3)
    return frame


@dataclass
class Camera:
    """A thread's work: frames at a steady rate until it is told to stop.

    Of a hundred frames, two cannot be read, two are too small, two come twice, and two show nothing new.
    """

    stream: TrackletStream
    number: int
    frames_per_s: float
    stopped: threading.Event
    pushed: int = 0
    begun: int = 0

    def run(self) -> None:
        """Push frames."""
        random, noise = Random(self.number), np.random.default_rng(self.number)
        going = [b""] * TRACKS
        start = time.monotonic()
        while not self.stopped.wait(max(0.0, start + self.pushed / self.frames_per_s - time.monotonic())):
            place, kind = random.randrange(TRACKS), random.random()
            name = going[place] = going[place] or self._begin()
            frame = named_frame(name, noise) if kind > 0.02 else np.zeros((0, 4, 3), np.uint8)
            frame = frame[: SIDE // 2] if kind < 0.04 else frame
            time_s = self.pushed / self.frames_per_s
            for number in range(2 if kind > 0.96 else 1):
                later_s = time_s + 1e-6 * number if kind < 0.98 else time_s
                self.stream.add(name, frame, camera=str(self.number), time_s=later_s)
                self.pushed += 1
            if random.random() < 0.03:
                if random.random() < 0.7:  # the others are abandoned
                    self.stream.finish(name, str(self.number))
                going[place] = b""

    def _begin(self) -> bytes:
        self.begun += 1
        return bytes([self.number]) + self.begun.to_bytes(5, "big")


@dataclass
class Check:
    """What came out, against what the session was given.

    Attributes:
        tracks: the number of tracks that came out.
        expired: those of them that were abandoned.
        frames: the frames of these that were embedded.
        unreadable: the frames that could not be read.
        wrong: the tracks with another embedding, or another number of frames.
        worst: the largest difference in an element of an embedding.
    """

    session: Projection
    tracks: int = 0
    expired: int = 0
    frames: int = 0
    unreadable: int = 0
    wrong: list[str] = field(default_factory=list)
    worst: float = 0.0

    def take(self, track: LiveTrack) -> None:
        """Compare a track."""
        assert isinstance(track.id, bytes)
        frames, total = self.session.sums.pop(track.id, (0, None))
        self.tracks += 1
        self.expired += track.expired
        self.frames += track.frames
        self.unreadable += track.unreadable
        if track.embedding is not None and total is not None:
            self.worst = max(self.worst, float(np.abs(track.embedding - total / np.linalg.norm(total)).max()))
        if frames != track.frames or (frames > 0) != (track.embedding is not None) or self.worst > TOLERANCE:
            self.wrong.append(f"{track.camera}/{track.id.hex()}")
