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

    @property
    def is_full(self) -> bool:
        """Whether no frame of any track fits: there is no room, or no row, and the tracks of all rows have ended."""
        batch = self.batch
        if batch is None or len(batch.rows) < batch.limits.tracklets:
            return batch is not None and batch.is_full
        return batch.is_full or batch.rows.keys() <= set(self.ended)


class Assembly:
    """Fills slots with the frames of tracks. One thread adds events, another takes batches, any others decode.

    A batch is closed when it has as many frames as the limits allow, when the next frame would need a row too many,
    or would if it came, when it is older than `max_wait_s`, and at the end.
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
        self._has_ended = self._has_stopped = False
        self._error: BaseException | None = None

    def add(self, event: FrameEvent) -> tuple[Filling, int] | None:
        """Take an event, and return where its frame is to be decoded to; None for an end alone.

        Waits for a slot. Raises Stopped where nobody takes batches any more.
        """
        with self._changed:
            self._wait_until(lambda: len(self._closed) <= self._slots.count)  # more of them are ends alone
            track = self._tracks.setdefault(event.track, Track(event.track))
            place = None
            if event.crop is not None:
                batch = self._with_room(track)
                place = batch, batch.add(track, event.weight)
            if event.last or event.crop is None:
                self._end(self._tracks.pop(event.track))
            if self._open and self._open.is_full:
                self._close()
            return place

    def end(self, error: BaseException | None = None) -> None:
        """Say that no more events come. The tracks that have not ended end here, or never where there is an error.

        What takes raises the error after the last batch.
        """
        with self._changed:
            for track in self._tracks.values() if error is None else ():
                self._end(track)
            self._close()
            self._has_ended = True
            self._keep(error)
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
        """Let whoever adds or takes stop; what takes raises the error, if it is the first that came."""
        with self._changed:
            self._keep(error)
            self.stop()

    def stop(self) -> None:
        """Let whoever adds or takes stop."""
        with self._changed:
            self._has_stopped = True
            self._changed.notify_all()

    def check(self) -> None:
        """Raise Stopped where the stream has been left."""
        if self._has_stopped:
            raise Stopped

    def withdraw(self) -> None:
        """Give back the slots of all batches that were not taken, when nothing is added or decoded any more."""
        with self._changed:
            for closed in (*self._closed, *([self._open] if self._open else ())):
                if closed.batch:
                    self._slots.withdraw(closed.batch.slot)
            self._closed.clear()
            self._open = None

    def take(self, *, wait: bool) -> Closed | None:
        """Return the next batch, decoded; None if there is none yet and `wait` is false, or after the last.

        Raises:
            BaseException: what `fail` was told, or `end`.
        """
        with self._changed:
            while True:
                has_ended = self._has_ended and not self._closed
                if self._has_stopped or (has_ended and wait and self._error):
                    raise self._reason()
                if self._time_left() == 0:
                    self._close()
                if self._closed and self._closed[0].is_decoded:
                    self._changed.notify_all()
                    return self._closed.popleft()
                if not wait or has_ended:
                    return None
                with self._stages.waiting_for("decoding" if self._closed else "source"):
                    self._changed.wait(self._time_left())

    def _time_left(self) -> float | None:
        """Return how long the open batch waits for more frames, in seconds; None for as long as it takes."""
        if self._max_wait_s is None or self._open is None or self._open.batch is None:
            return None
        left = self._open.batch.began + self._max_wait_s - time.monotonic()
        return min(max(0.0, left), threading.TIMEOUT_MAX)

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: condition() or self._has_stopped)
        self.check()

    # An error that stays here would keep the slots alive, by its traceback.

    def _keep(self, error: BaseException | None) -> None:
        if not self._has_stopped:
            self._error = self._error or error

    def _reason(self) -> BaseException:
        error, self._error = self._error, None
        return error or Stopped()

    def _with_room(self, track: Track) -> Filling:
        if self._open and self._open.batch and not self._open.batch.has_room(track):
            self._close()
        if self._open and self._open.batch:
            return self._open.batch
        self._wait_until(lambda: self._lent < self._slots.count)
        limits = self._limits()
        batch = Filling(self._slots.lend(), limits, time.monotonic())
        self._lent += 1
        self._open = Closed(batch)
        self._changed.notify_all()  # from now on, its time runs
        return batch

    def _end(self, track: Track) -> None:
        if self._open and self._open.batch and (self._open.ended or track in self._open.batch.rows):
            self._open.ended.append(track)
        else:  # nothing that it waits for is in the open batch
            self._closed.append(Closed(None, [track]))
            self._changed.notify_all()

    def _close(self) -> None:
        if self._open:
            self._closed.append(self._open)
            self._open = None
            self._changed.notify_all()
