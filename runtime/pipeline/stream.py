"""Embed a stream of frames: one thread takes them from their source, some decode, one runs the session.

Every stage waits for the next where it has to: there are as many batches as the session has slots, and memory grows
neither with the number of frames nor with the length of a track.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from typing import TypeAlias

from reid.runtime.pipeline.assembly import Assembly, Closed, Stopped
from reid.runtime.pipeline.events import Crop, FrameEvent
from reid.runtime.pipeline.filling import Filling, Look, Weigh
from reid.runtime.pipeline.stages import Stages
from reid.runtime.pipeline.tracks import Track
from reid.runtime.sessions.session import BatchLimits, Session
from reid.runtime.sessions.slots import Pending, Slots, slots_of
from reid.runtime.tracklet import Frame

__all__ = ["embed_events"]

_Result: TypeAlias = "list[Track] | BaseException | None"
"""Tracks that are complete, what went wrong, or None at the end."""

_DECODING_THREADS = min(8, os.cpu_count() or 1)
_PATIENCE_S = 0.05
"""How long a thread waits for another before it looks again whether the stream has been left, or lets it be."""


def embed_events(
    session: Session,
    events: Iterable[FrameEvent],
    *,
    limits: BatchLimits | None = None,
    max_wait_s: float | None = None,
    keep_frames: bool = False,
    weigh: Weigh | None = None,
    look: Look | None = None,
    grown: Callable[[Track], None] | None = None,
    stages: Stages | None = None,
) -> Iterator[Track]:
    """Embed the frames of tracks, and yield each track as soon as its last frame has been through the session.

    Args:
        session: the model; it stays the caller's to close, and to use, also for another stream at the same time.
        events: the frames, taken lazily and in a thread of their own. Tracks may interleave.
        limits: a smaller batch than the largest that the session takes.
        max_wait_s: how long a frame waits for others to share a batch with, in seconds; None for as long as it takes.
        keep_frames: whether to keep the embedding of every frame, too; memory then grows with a track's length.
        weigh: gives the weight of a frame, from its pixels, RGB [h, w, 3]; the weight of its event is a factor of it.
            It is called in several threads at a time, and all files are decoded on the CPU. A frame for which it
            raises an Exception, or returns what is no weight, counts as unreadable.
        look: measures a frame, from its pixels; a track has the sum of what it returns. Threads and files are as with
            `weigh`.
        grown: is called with each track after every batch with frames of it, in the thread that runs the session: what
            its `embedding` is so far. It must be quick, and keep what it wants to read later.
        stages: is told how long the stream waits, and for what.

    Yields:
        The tracks in the order in which they end; those that have not ended by the end of the events come last.

    Raises:
        BaseException: what the events raise, after the tracks that ended before, or the session.
    """
    stages = stages or Stages()
    resources = contextlib.ExitStack()  # the runner's
    slots = resources.enter_context(slots_of(session))
    assembly = Assembly(slots, lambda: session.limits.within(limits) if limits else session.limits, max_wait_s, stages)
    resources.callback(assembly.withdraw)
    decoders = ThreadPoolExecutor(_DECODING_THREADS, thread_name_prefix="decode")
    resources.callback(decoders.shutdown, cancel_futures=True)
    feed = threading.Thread(target=_feed, args=(events, assembly, decoders, weigh, look), name="feed", daemon=True)
    yield from _embedded(feed, _Runner(slots, assembly, stages, keep_frames, grown, resources))


def _embedded(feed: threading.Thread, runner: _Runner) -> Iterator[Track]:
    run = threading.Thread(target=runner.run, name="run", daemon=True)
    caller = threading.current_thread()
    tracks: _Result = None
    try:
        run.start()
        feed.start()
        while (tracks := runner.results.get()) is not None:
            if isinstance(tracks, BaseException):
                raise tracks
            yield from tracks
            caller = threading.current_thread()
    finally:
        tracks = None  # an error has this frame in its traceback
        runner.assembly.stop()
        # The garbage collector may end the stream in any thread, even in one that would wait for itself; and when the
        # interpreter ends, no thread does.
        if threading.current_thread() is caller and not sys.is_finalizing():
            _wait_for(run, feed, runner.results)


def _wait_for(run: threading.Thread, feed: threading.Thread, results: Queue[_Result]) -> None:
    while run.is_alive():
        with contextlib.suppress(Empty):  # it may wait for room
            results.get_nowait()
        run.join(_PATIENCE_S)
    if feed.ident is not None:
        feed.join(_PATIENCE_S)  # a source that says nothing keeps its thread


def _feed(
    events: Iterable[FrameEvent],
    assembly: Assembly,
    decoders: ThreadPoolExecutor,
    weigh: Weigh | None,
    look: Look | None,
) -> None:
    try:
        for event in events:
            if (place := assembly.add(event)) and event.crop is not None:
                decoders.submit(_decode, assembly, (weigh, look), *place, event.crop)
        assembly.end()
    except BaseException as error:
        assembly.end(error)


def _decode(
    assembly: Assembly,
    judges: tuple[Weigh | None, Look | None],
    batch: Filling,
    position: int,
    crop: Frame | Crop,
) -> None:
    try:
        batch.decode(position, crop, *judges)
    except BaseException as error:
        assembly.fail(error)
    else:
        assembly.decoded(batch)


@dataclass(slots=True, eq=False)
class _Runner:
    """Runs batches, hands on the tracks that are complete, and closes what the stream has used."""

    slots: Slots
    assembly: Assembly
    stages: Stages
    keep_frames: bool
    grown: Callable[[Track], None] | None
    resources: contextlib.ExitStack
    results: Queue[_Result] = field(default_factory=lambda: Queue(2))
    _running: deque[tuple[Closed, Pending | None]] = field(default_factory=deque)

    def run(self) -> None:
        """Run all batches; the results end with None, or with an error."""
        with self.resources, contextlib.suppress(Stopped):
            self.resources.callback(self._settle)
            try:
                self._run_all()
                self._hand_on(None)
            except Stopped:
                raise
            except BaseException as error:
                self._hand_on(error)

    def _settle(self) -> None:
        self.assembly.stop()
        for _, pending in self._running:
            with contextlib.suppress(BaseException):
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
        with self.stages.waiting_for("decoding"), self._withdrawing(batch):
            batch.finish()
        if len(batch.failures) == len(batch.members):
            self.slots.withdraw(batch.slot)
            self.assembly.freed()
            return None
        self.stages.batches += 1
        self.stages.positions += len(batch.members)
        self.stages.frames += len(batch.members) - len(batch.failures)
        with self._withdrawing(batch):
            return self.slots.submit(batch.slot, len(batch.members), len(batch.rows))

    @contextlib.contextmanager
    def _withdrawing(self, batch: Filling) -> Iterator[None]:
        """Give a batch's slot back where something fails."""
        try:
            yield
        except BaseException:
            self.slots.withdraw(batch.slot)
            raise

    def _finish(self, closed: Closed, pending: Pending | None) -> None:
        if closed.batch:
            closed.batch.report()
            self.stages.took("decode", sum(closed.batch.decode_s))
            if pending:
                with self.stages.waiting_for("model"):
                    embeddings = pending.result()
                self.stages.took_batch(pending.seconds)
                self.assembly.freed()
                closed.batch.take(embeddings, keep_frames=self.keep_frames)
            if self.grown:
                for track in closed.batch.rows:
                    self.grown(track)
        if closed.ended:
            self._hand_on(closed.ended)

    def _hand_on(self, tracks: _Result) -> None:
        with self.stages.waiting_for("results"):
            while not self._has_room_for(tracks):
                self.assembly.check()

    def _has_room_for(self, tracks: _Result) -> bool:
        try:
            self.results.put(tracks, timeout=_PATIENCE_S)
        except Full:
            return False
        return True
