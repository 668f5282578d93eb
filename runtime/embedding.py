"""Embed tracklets, streamed through a session."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reid.runtime.batching import Arrival, Unreadable, batches
from reid.runtime.progress import Progress
from reid.runtime.sessions.session import BatchLimits, Session, run
from reid.runtime.tracklet import Tracklet

__all__ = ["Embedded", "embed", "normalize", "watched"]


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A tracklet and its embedding.

    Attributes:
        tracklet: the tracklet as it was given.
        embedding: float32 [D], L2-normalized; None if no frame could be read.
        frames: the embedding of each frame, float32 [D], by the frame's index; empty unless asked for.
        unreadable: the frames that were left out.
    """

    tracklet: Tracklet
    embedding: NDArray[np.float32] | None
    frames: dict[int, NDArray[np.float32]]
    unreadable: tuple[Unreadable, ...]


@dataclass(slots=True)
class _Open:
    """A tracklet whose last frame has not been embedded yet."""

    pooled: NDArray[np.float32] | None = None
    frames: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)


def embed(
    session: Session,
    tracklets: Iterable[Tracklet],
    *,
    limits: BatchLimits | None = None,
    keep_frames: bool = False,
) -> Iterator[Embedded]:
    """Embed tracklets in order, each as soon as its last frame has been through the session.

    Args:
        session: the model; it stays the caller's to close.
        tracklets: the tracklets, taken lazily. Memory does not grow with their number, nor with their length.
        limits: a smaller batch than the largest that the session takes.
        keep_frames: whether to keep the embedding of every frame, too; memory then grows with a tracklet's length.
    """
    limits = session.limits.within(limits or session.limits)
    threads = min(8, os.cpu_count() or 1)
    unfinished: dict[Arrival, _Open] = {}
    for batch in batches(tracklets, session.info.card.preprocessing, limits, threads=threads):
        if len(batch.frames):
            frame_embedding, pooled = run(session, batch.frames, batch.pooling)
            for row, arrival in enumerate(batch.arrivals):
                state = unfinished.setdefault(arrival, _Open())
                state.pooled = pooled[row] if state.pooled is None else state.pooled + pooled[row]
                if keep_frames:
                    columns = np.flatnonzero(batch.pooling[row])
                    state.frames |= {batch.frame_indices[column]: frame_embedding[column] for column in columns}
        for failure in batch.unreadable:
            unfinished.setdefault(failure.arrival, _Open()).unreadable.append(failure)
        for arrival in batch.complete:
            state = unfinished.pop(arrival)
            embedding = None if state.pooled is None else normalize(state.pooled)
            yield Embedded(arrival.tracklet, embedding, state.frames, tuple(state.unreadable))


def watched(entries: Iterable[Embedded], progress: Progress) -> Iterator[Embedded]:
    """Pass entries on, and count the frames of each as done."""
    for entry in entries:
        progress.advance(len(entry.tracklet.frames))
        yield entry


def normalize(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalize along the last axis; a zero vector stays zero."""
    norm = np.linalg.norm(embedding, axis=-1, keepdims=True)
    return np.asarray(embedding / np.maximum(norm, 1e-12), np.float32)
