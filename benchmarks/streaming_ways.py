"""The ways from JPEG files to embeddings that `streaming.py` compares: each is the subject of a process of its own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.data.layout import open_dataset
from reid.runtime.imaging import as_model_input, read_frame
from reid.runtime.opening import open_session
from reid.runtime.pipeline.events import events_of
from reid.runtime.pipeline.stages import Stages
from reid.runtime.pipeline.stream import embed_events
from reid.runtime.sessions.session import Session, run
from reid.runtime.tracklet import Tracklet

__all__ = ["WAYS", "open_way"]

PADDED = 16
"""The length that tracklets are filled up to: longer than most of VeRi-776's."""


def open_way(request: Mapping[str, Any]) -> Way:
    """Open the session for one of WAYS, and warm it up."""
    session = open_session(request["model"], request["session"], request["precision"])
    tracklets = list(tracklets_of(Path(request["data"]), request["count"]))
    full_batches(session, tracklets[:1], 2 * session.limits.frames)
    return Way(request["way"], session, tracklets, request["count"])


class Way:
    """A way with its session and its files, as `reid.bench.host` asks it."""

    def __init__(self, name: str, session: Session, tracklets: Sequence[Tracklet], frames: int) -> None:
        self._way, self._session, self._tracklets, self._count = WAYS[name], session, tracklets, frames
        self.facts: Mapping[str, str] = {"session": str(session.info), "precision": session.info.precision}
        self.most_frames = session.limits.frames
        self.commands: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"take": self.take}

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a batch, uint8 [N, 3, H, W] -> float32 [N, D]."""
        return run(self._session, frames, np.ones((1, len(frames)), np.float32)).frame_embedding

    def take(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Embed all files once."""
        start, cpu_start = time.perf_counter(), time.process_time()
        more = self._way(self._session, self._tracklets, self._count)
        rate = self._count / (time.perf_counter() - start)
        return {"frames_per_s": rate, "cpu_ms_per_frame": 1000 * (time.process_time() - cpu_start) / self._count} | more

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def tracklets_of(data: Path, frames: int) -> Iterator[Tracklet]:
    """Yield the gallery's tracklets, again and again, until they have so many frames."""
    given = itertools.cycle(open_dataset(data, needs="query").gallery.tracklets)
    while frames > 0:
        tracklet = next(given)
        yield Tracklet(tracklet.id, tracklet.frames[:frames])
        frames -= len(tracklet.frames)


def full_batches(session: Session, tracklets: Sequence[Tracklet], frames: int) -> dict[str, Any]:
    """Run full batches that are ready in memory."""
    most = session.limits.frames
    crop = as_model_input(read_frame(tracklets[0].frames[0]), session.info.card.preprocessing)
    batch, pooling = np.stack([crop] * most), np.eye(min(most, session.limits.tracklets), most, dtype=np.float32)
    for start in range(0, frames, most):
        count = min(most, frames - start)
        run(session, batch[:count], np.ascontiguousarray(pooling[:, :count]))
    return {}


def pipeline(session: Session, tracklets: Sequence[Tracklet], frames: int) -> dict[str, Any]:
    """Embed as `reid.embed` does."""
    stages = Stages()
    for _ in embed_events(session, events_of(tracklets), stages=stages):
        pass
    full = 100 * stages.frames / (stages.batches * session.limits.frames)
    return {"occupancy_percent": round(full, 2), "limited_by": stages.limiting}


def loop(session: Session, tracklets: Sequence[Tracklet], frames: int) -> dict[str, Any]:
    """Read, resize and run one tracklet after another."""
    for tracklet in tracklets:
        one_by_one(session, pixels_of(session, tracklet))
    return {}


def padded(session: Session, tracklets: Sequence[Tracklet], frames: int) -> dict[str, Any]:
    """Do as `loop`, with every tracklet filled up to a multiple of one length."""
    for tracklet in tracklets:
        pixels = pixels_of(session, tracklet)
        missing = -len(pixels) % PADDED
        one_by_one(session, np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)]))
    return {}


def pixels_of(session: Session, tracklet: Tracklet) -> NDArray[np.uint8]:
    """Read and resize all frames of a tracklet."""
    size = session.info.card.preprocessing
    return np.stack([as_model_input(read_frame(frame), size) for frame in tracklet.frames])


def one_by_one(session: Session, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed one tracklet, [D]."""
    most = session.limits.frames
    parts = [pixels[start : start + most] for start in range(0, len(pixels), most)]
    return np.sum([run(session, part, np.ones((1, len(part)), np.float32)).pooled[0] for part in parts], axis=0)


WAYS: dict[str, Callable[[Session, Sequence[Tracklet], int], dict[str, Any]]] = {
    "session": full_batches,
    "pipeline": pipeline,
    "loop": loop,
    "padded": padded,
}
