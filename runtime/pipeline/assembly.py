"""Batches between the thread that fills them and the one that runs them: bounded, in order, and never late."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from reid.runtime.pipeline.events import FrameEvent
from reid.runtime.pipeline.filling import Filling
from reid.runtime.pipeline.stages import Stages
from reid.runtime.pipeline.tracks import Track
from reid.runtime.sessions.session import BatchLimits
from reid.runtime.sessions.slots import Slots

__all__ = ["Assembly", "Closed", "Stopped"]


class Stopped(Exception):  # noqa: N818 - no error: nobody wants more embeddings
    """The stream has been left."""


@dataclass(slots=True, eq=False)
class Closed:
    """A batch that gets no more frames.

    Attributes:
        batch: the batch; None where only ends came.
        ended: the tracks whose end came in or right after the batch, in order.
    """

    batch: Filling | None
    ended: list[Track] = field(default_factory=list)

    @property
    def is_decoded(self) -> bool:
        """Whether the batch can be run."""
        return self.batch is None or not self.batch.undecoded


class Assembly:
    """Fills slots with the frames of tracks. One thread adds events, another takes batches, any others decode.

    A batch is closed when it has as many frames as the limits allow, when the next frame would need a row too many,
    when it is older than `max_wait_s`, and at the end.
    """

    def __init__(
        self, slots: Slots, limits: Callable[[], BatchLimits], max_wait_s: float | None, stages: Stages
    ) -> None:
        """Begin without a batch.

        Args:
            slots: what is filled.
            limits: gives the largest batch; asked for each, since a session may learn that it takes less.
            max_wait_s: how long the first frame of a batch waits for others, in seconds; None for as long as it takes.
            stages: counts how long `take` waits, and for what.
        """
        self._slots, self._limits, self._max_wait_s, self._stages = slots, limits, max_wait_s, stages
        self._changed = threading.Condition()
        self._tracks: dict[Hashable, Track] = {}
        self._open: Closed | None = None
        self._closed: deque[Closed] = deque()
        self._lent = 0
        self._has_ended = False
        self._error: BaseException | None = None

    def add(self, event: FrameEvent) -> tuple[Filling, int] | None:
        """Take an event, and return where its frame is to be decoded to; None for an end alone.

        Waits for a slot. Raises Stopped where nobody takes batches any more.
        """
        with self._changed:
            if self._error:
                raise Stopped
            track = self._tracks.setdefault(event.track, Track(event.track))
            place = None
            if event.crop is not None:
                batch = self._with_room(track)
                place = batch, batch.add(track)
            if event.last or event.crop is None:
                self._end(self._tracks.pop(event.track))
            if place and place[0].is_full:
                self._close()
            return place

    def end(self) -> None:
        """Say that no more events come. The tracks that have not ended end here."""
        with self._changed:
            for track in self._tracks.values():
                self._end(track)
            self._close()
            self._has_ended = True
            self._changed.notify_all()

    def decoded(self, batch: Filling) -> None:
        """Count one of a batch's positions as filled."""
        with self._changed:
            batch.undecoded -= 1
            if not batch.undecoded:
                self._changed.notify_all()

    def freed(self) -> None:
        """Say that a slot is free again."""
        with self._changed:
            self._lent -= 1
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Let whoever adds or takes stop; what takes raises the first error that came."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def take(self, *, wait: bool) -> Closed | None:
        """Return the next batch, decoded; None if there is none yet and `wait` is false, or after the last.

        Raises:
            BaseException: what `fail` was told.
        """
        with self._changed:
            while True:
                if self._error:
                    raise self._error
                if self._time_left() == 0:
                    self._close()
                if self._closed and self._closed[0].is_decoded:
                    return self._closed.popleft()
                if not wait or (self._has_ended and not self._closed):
                    return None
                with self._stages.waiting_for("decoding" if self._closed else "source"):
                    self._changed.wait(self._time_left())

    def _time_left(self) -> float | None:
        """Return how long the open batch waits for more frames, in seconds; None for as long as it takes."""
        if self._max_wait_s is None or self._open is None or self._open.batch is None:
            return None
        return max(0.0, self._open.batch.began + self._max_wait_s - time.monotonic())

    def _with_room(self, track: Track) -> Filling:
        if self._open and self._open.batch and not self._open.batch.has_room(track):
            self._close()
        if self._open and self._open.batch:
            return self._open.batch
        self._changed.wait_for(lambda: self._lent < self._slots.count or self._error)
        if self._error:
            raise Stopped
        self._lent += 1
        batch = Filling(self._slots.lend(), self._limits(), time.monotonic())
        self._open = Closed(batch)
        self._changed.notify_all()  # from now on, its time runs
        return batch

    def _end(self, track: Track) -> None:
        if self._open:
            self._open.ended.append(track)
        else:
            self._closed.append(Closed(None, [track]))
            self._changed.notify_all()

    def _close(self) -> None:
        if self._open:
            self._closed.append(self._open)
            self._open = None
            self._changed.notify_all()
