"""Embed a stream of frames: one thread takes them from their source, some decode, one runs the session.

Every stage waits for the next where it has to: there are as many batches as the session has slots, and memory grows
neither with the number of frames nor with the length of a track.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, Queue

from reid.runtime.pipeline.assembly import Assembly, Closed, Stopped
from reid.runtime.pipeline.events import Crop, FrameEvent
from reid.runtime.pipeline.filling import Filling
from reid.runtime.pipeline.stages import Stages
from reid.runtime.pipeline.tracks import Track
from reid.runtime.sessions.session import BatchLimits, Session
from reid.runtime.sessions.slots import Pending, Slots, slots_of
from reid.runtime.tracklet import Frame

__all__ = ["embed_events"]

_DECODING_THREADS = min(8, os.cpu_count() or 1)
_PATIENCE_S = 0.05
"""How long the end of a stream waits for a thread before it looks again, or lets it be."""


def embed_events(
    session: Session,
    events: Iterable[FrameEvent],
    *,
    limits: BatchLimits | None = None,
    max_wait_s: float | None = None,
    keep_frames: bool = False,
    stages: Stages | None = None,
) -> Iterator[Track]:
    """Embed the frames of tracks, and yield each track as soon as its last frame has been through the session.

    Args:
        session: the model; it stays the caller's to close.
        events: the frames, taken lazily and in a thread of their own. Tracks may interleave.
        limits: a smaller batch than the largest that the session takes.
        max_wait_s: how long a frame waits for others to share a batch with, in seconds; None for as long as it takes.
        keep_frames: whether to keep the embedding of every frame, too; memory then grows with a track's length.
        stages: is told how long the stream waits, and for what.

    Yields:
        The tracks in the order in which they end; those that have not ended by the end of the events come last.

    Raises:
        BaseException: what the events or the session raise.
    """
    stages = stages or Stages()
    with slots_of(session) as slots:
        assembly = Assembly(
            slots, lambda: session.limits.within(limits) if limits else session.limits, max_wait_s, stages
        )
        yield from _embedded(events, assembly, _Runner(slots, assembly, stages, keep_frames))


def _embedded(events: Iterable[FrameEvent], assembly: Assembly, runner: _Runner) -> Iterator[Track]:
    decoders = ThreadPoolExecutor(_DECODING_THREADS, thread_name_prefix="decode")
    feed = threading.Thread(target=_feed, args=(events, assembly, decoders), name="feed", daemon=True)
    run = threading.Thread(target=runner.run, name="run", daemon=True)
    try:
        run.start()
        feed.start()
        while (tracks := runner.results.get()) is not None:
            if isinstance(tracks, BaseException):
                raise tracks
            yield from tracks
    finally:
        assembly.fail(Stopped())
        while run.is_alive():  # it may wait for room
            with contextlib.suppress(Empty):
                runner.results.get(timeout=_PATIENCE_S)
        decoders.shutdown(cancel_futures=True)
        if feed.ident is not None:
            feed.join(_PATIENCE_S)  # a source that says nothing keeps its thread


def _feed(events: Iterable[FrameEvent], assembly: Assembly, decoders: ThreadPoolExecutor) -> None:
    try:
        for event in events:
            if (place := assembly.add(event)) and event.crop is not None:
                decoders.submit(_decode, assembly, *place, event.crop)
        assembly.end()
    except BaseException as error:
        assembly.fail(error)


def _decode(assembly: Assembly, batch: Filling, position: int, crop: Frame | Crop) -> None:
    try:
        batch.decode(position, crop)
    except BaseException as error:
        assembly.fail(error)
    else:
        assembly.decoded(batch)


@dataclass(slots=True, eq=False)
class _Runner:
    """Runs batches, and hands on the tracks that are complete."""

    slots: Slots
    assembly: Assembly
    stages: Stages
    keep_frames: bool
    results: Queue[list[Track] | BaseException | None] = field(default_factory=lambda: Queue(2))
    _running: deque[tuple[Closed, Pending | None]] = field(default_factory=deque)

    def run(self) -> None:
        """Run all batches; the results end with None, or with an error."""
        try:
            self._run_all()
            self._hand_on(None)
        except Stopped:
            pass
        except BaseException as error:
            self.results.put(error)
        finally:
            for _, pending in self._running:
                with contextlib.suppress(Exception):
                    if pending:
                        pending.result()

    def _run_all(self) -> None:
        while True:
            closed = self.assembly.take(wait=not self._running)
            if closed:
                self._running.append((closed, self._submit(closed.batch)))
            elif not self._running:
                return
            # One slot is left to be filled.
            if closed is None or len(self._running) >= self.slots.count - 1:
                self._finish(*self._running.popleft())

    def _submit(self, batch: Filling | None) -> Pending | None:
        if batch is None:
            return None
        if len(batch.failures) == len(batch.members):
            self.slots.withdraw(batch.slot)
            self.assembly.freed()
            return None
        self.stages.batches += 1
        self.stages.positions += len(batch.members)
        self.stages.frames += len(batch.members) - len(batch.failures)
        return self.slots.submit(batch.slot, len(batch.members), len(batch.rows))

    def _finish(self, closed: Closed, pending: Pending | None) -> None:
        if closed.batch:
            closed.batch.report()
            if pending:
                with self.stages.waiting_for("model"):
                    embeddings = pending.result()
                self.assembly.freed()
                closed.batch.take(embeddings, keep_frames=self.keep_frames)
        if closed.ended:
            self._hand_on(closed.ended)

    def _hand_on(self, tracks: list[Track] | None) -> None:
        with self.stages.waiting_for("results"):
            self.results.put(tracks)
