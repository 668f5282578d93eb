"""Embed tracklets, streamed through a session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.pipeline.events import Arrival, events_of
from reid.runtime.pipeline.filling import Look
from reid.runtime.pipeline.stages import Stage, Stages
from reid.runtime.pipeline.stream import embed_events
from reid.runtime.pipeline.tracks import Track, Unreadable
from reid.runtime.progress import SILENT, Progress, note
from reid.runtime.sessions.session import BatchLimits, Session
from reid.runtime.tracklet import Tracklet

__all__ = ["Embedded", "embed"]

_WORDS: dict[Stage, str] = {
    "source": "the source",
    "decoding": "decoding",
    "model": "the model",
    "results": "what takes the embeddings",
}


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A tracklet and its embedding.

    Attributes:
        tracklet: the tracklet as it was given.
        embedding: float32 [D], L2-normalized; None if no frame could be read.
        frames: the embedding of each frame, float32 [D], by the frame's index; empty unless asked for.
        unreadable: the frames that were left out.
        agreement: the length of the mean of its frames' embeddings before it is normalized, 0 to 1: how far they agree.
        looks: the mean of what was measured of its frames, float64 [F]; None where nothing was.
    """

    tracklet: Tracklet
    embedding: NDArray[np.float32] | None
    frames: dict[int, NDArray[np.float32]]
    unreadable: tuple[Unreadable, ...]
    agreement: float = 1.0
    looks: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, tracklet: Tracklet, track: Track) -> Embedded:
        """Return what came of a tracklet's track."""
        read = track.embedded
        agreement = 1.0 if track.pooled is None else float(np.linalg.norm(track.pooled)) / read
        looks = None if track.looks is None else track.looks / read
        return cls(tracklet, track.embedding, track.frames, tuple(track.unreadable), agreement, looks)


def embed(
    session: Session,
    tracklets: Iterable[Tracklet],
    *,
    limits: BatchLimits | None = None,
    keep_frames: bool = False,
    look: Look | None = None,
    progress: Progress = SILENT,
) -> Iterator[Embedded]:
    """Embed tracklets in order, each as soon as its last frame has been through the session.

    Args:
        session: the model; it stays the caller's to close.
        tracklets: the tracklets, taken lazily and in a thread of their own. Memory does not grow with their number,
            nor with their length.
        limits: a smaller batch than the largest that the session takes.
        keep_frames: whether to keep the embedding of every frame, too; memory then grows with a tracklet's length.
        look: measures each frame from its pixels, RGB [h, w, 3], in several threads at a time; all files are then
            decoded on the CPU.
        progress: its current stage counts the frames of each tracklet that is done, and notes what limits the rate.
    """
    stages, noted, events = Stages(), None, events_of(tracklets)
    for track in embed_events(session, events, limits=limits, keep_frames=keep_frames, look=look, stages=stages):
        assert isinstance(track.name, Arrival)
        progress.advance(track.received)
        if noted != stages.limiting:
            noted = stages.limiting
            note(progress, f"limited by {_WORDS[noted]}")
        yield Embedded.of(track.name.tracklet, track)
