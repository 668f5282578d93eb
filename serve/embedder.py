"""One session for many clients: their crops share batches, and none waits longer for others than the deadline."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.pipeline.events import FrameEvent
from reid.runtime.pipeline.stages import Stages
from reid.runtime.pipeline.stream import embed_events
from reid.runtime.pipeline.tracks import Track
from reid.runtime.sessions.session import Session
from reid.serve.refusals import Refused

__all__ = ["Embedder"]

_Embedding: TypeAlias = NDArray[np.float32]

_BATCHES = 8
"""Batches for which there is room in the inbox."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)  # the stream names tracks in texts, and pixels are long ones
class _Request:
    crops: Sequence[NDArray[np.uint8]]
    answer: Future[_Embedding] = field(default_factory=Future)


class Embedder:
    """Embeds the tracklets of any number of threads in the batches of one stream.

    A batch is run when it is full, or when its first crop has waited for the deadline and the session is free. So the
    deadline costs nothing where the session is the bottleneck: batches fill while it works.
    """

    def __init__(
        self, session: Session, *, deadline_s: float, room: int, took_batch: Callable[[float], object]
    ) -> None:
        """Begin; close it.

        Args:
            session: the model; it stays the caller's to close, afterwards.
            deadline_s: how long a crop waits for others to share a batch with, in seconds.
            room: the least room there is: the crops that the largest request has. There are some batches more.
            took_batch: is told the number of crops of each batch.
        """
        self._room = room + _BATCHES * session.limits.frames
        self._took_batch, self._stages, self._counted = took_batch, Stages(), (0, 0)
        self._changed = threading.Condition()
        self._queue: deque[_Request] = deque()
        self._open: set[_Request] = set()
        self._waiting = 0
        self._is_closed = False
        self._failure = ""
        self._thread = threading.Thread(target=self._run, args=(session, deadline_s), name="embedder", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The crops that came and have not been answered."""
        return self._waiting

    @property
    def failure(self) -> str:
        """Why the session takes no more; empty while it does."""
        return self._failure

    def submit(self, crops: Sequence[NDArray[np.uint8]]) -> Future[_Embedding]:
        """Embed a tracklet.

        Args:
            crops: uint8 RGB [h, w, 3] each, at least one.

        Returns:
            Its embedding, float32 [D], L2-normalized, as `embed` gives it.

        Raises:
            Refused: there is no room, or the session has failed, or the embedder is closed.
        """
        request = _Request(crops)
        request.answer.set_running_or_notify_cancel()  # a client that leaves takes nothing out of a batch
        with self._changed:
            self._check(len(crops))
            self._queue.append(request)
            self._open.add(request)
            self._waiting += len(crops)
            self._changed.notify_all()
        return request.answer

    def close(self) -> None:
        """Take no more, and wait for what came."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _check(self, crops: int) -> None:
        if self._failure:
            raise Refused(503, "session", f"the session has failed: {self._failure}; restart the service", 30)
        if self._is_closed:
            raise Refused(503, "stopping", "the service is stopping; ask again when it is back", 5)
        if self._waiting + crops > self._room:
            raise Refused(503, "inbox", f"{self._waiting} pictures wait already; ask again in a second", 1)

    def _run(self, session: Session, deadline_s: float) -> None:
        try:
            for track in embed_events(
                session, self._events(), max_wait_s=deadline_s, grown=self._count, stages=self._stages
            ):
                assert isinstance(track.name, _Request)
                assert track.embedding is not None, track.unreadable
                self._settle(track.name).set_result(track.embedding)
        except BaseException as error:
            self._fail(error)

    def _events(self) -> Iterator[FrameEvent]:
        while (request := self._next()) is not None:
            last = len(request.crops) - 1
            for number, crop in enumerate(request.crops):
                yield FrameEvent(request, crop, last=number == last)

    def _next(self) -> _Request | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed or self._failure)
            return self._queue.popleft() if self._queue else None

    def _settle(self, request: _Request) -> Future[_Embedding]:
        with self._changed:
            self._open.discard(request)
            self._waiting -= len(request.crops)
        return request.answer

    def _count(self, track: Track) -> None:
        """Tell the sizes of the batches since the last call; it is called in the thread that runs them."""
        batches, frames = self._stages.batches - self._counted[0], self._stages.positions - self._counted[1]
        for _ in range(batches):
            self._took_batch(frames / batches)
        self._counted = self._stages.batches, self._stages.positions

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = str(error) or type(error).__name__
            lost, self._waiting = tuple(self._open), 0
            self._open.clear()
            self._queue.clear()
            self._changed.notify_all()
        for request in lost:
            message = f"the session has failed: {self._failure}; restart the service"
            request.answer.set_exception(Refused(503, "session", message, 30))
