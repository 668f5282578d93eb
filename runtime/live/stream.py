"""Tracks of many cameras, pushed from any thread and embedded as they grow."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import ReidError
from reid.runtime.frame_policies import FramePolicy
from reid.runtime.live.gate import Gate, refusal_of
from reid.runtime.live.growing import Growing
from reid.runtime.live.inbox import Inbox
from reid.runtime.live.tracks import CameraCounts, LiveTrack
from reid.runtime.pipeline.events import Crop, FrameEvent, cut
from reid.runtime.pipeline.filling import Weigh
from reid.runtime.pipeline.stream import embed_events
from reid.runtime.pipeline.tracks import Track
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Frame

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StreamEndedError", "TrackletStream"]

_FINISHED = 64
"""How many tracks wait for whoever takes them, before the session waits, too."""


class StreamEndedError(ReidError):
    """A stream that takes no more frames, or gives no more tracks since it has failed."""


class TrackletStream:
    """Embeds the tracks of many cameras as they grow. Any thread may call any method.

    Cameras push and never wait: where more comes than the session can take, the camera of which most frames wait loses
    its oldest. Tracks come out by iteration, in the order in which they end::

        with TrackletStream(session) as stream:
            start_cameras(stream)  # threads that call stream.add and stream.finish
            for track in stream:
                ...

    Memory does not grow with time: there is room for so many frames, whatever their size in bytes, and for the sums of
    the tracks that go on, which are those of every name that was seen within `expire_s`. Where nobody takes the tracks
    that have ended, the session comes to stand, and frames are dropped.
    """

    def __init__(
        self,
        session: Session,
        *,
        max_wait_s: float = 0.05,
        room: int = 256,
        expire_s: float = 10.0,
        across_cameras: bool = False,
        gate: Gate | None = None,
        policy: FramePolicy | None = None,
        weigh: Weigh | None = None,
        keep_pictures: bool = False,
    ) -> None:
        """Begin; close it, or use it as a context manager.

        Args:
            session: the model; it stays the caller's to close, after the stream.
            max_wait_s: how long a frame waits for others to share a batch with, in seconds.
            room: how many frames of all cameras together wait for the session, at most. It counts frames, not bytes:
                each is as large as its crop.
            expire_s: how long a track goes on without a frame, in seconds; then it ends by itself.
            across_cameras: whether a name is the same track on every camera.
            gate: says why a frame is kept out of the embedding, such as `reid.runtime.quality.reason_to_refuse`. `add`
                asks it, and reads a picture that is a file for that.
            policy: makes what chooses a track's frames that are worth an embedding, such as `partial(OnChange, 8)`. It
                is asked when it is a frame's turn, in one thread for all tracks, which reads a frame that is a file for
                that; what it raises ends the stream.
            weigh: see `embed_events`.
            keep_pictures: whether each track has a picture, which takes the memory of one of its frames.

        Raises:
            ValueError: there is no room, or a time is none.
        """
        if room < 1:
            raise ValueError(f"room for {room} frames; there must be room for at least 1")
        if not (expire_s > 0 and max_wait_s >= 0):
            raise ValueError(f"expire_s={expire_s}, max_wait_s={max_wait_s}: give seconds above 0, and from 0")
        self._across, self._gate = across_cameras, gate
        self._changed = threading.Condition()
        self._inbox = Inbox(room, expire_s, policy, keep_pictures=keep_pictures)
        self._finished: deque[LiveTrack] = deque()
        self._is_ending = self._is_closed = self._is_done = False
        self._has_failed = False
        self._error: BaseException | None = None
        self._why_ended = "it was closed"
        self._thread = threading.Thread(target=self._embed, args=(session, max_wait_s, weigh), name="live", daemon=True)
        self._thread.start()

    def add(
        self,
        track_id: Hashable,
        picture: str | os.PathLike[str] | NDArray[np.uint8],
        box: tuple[int, int, int, int] | None = None,
        *,
        camera: str | None = None,
        time_s: float | None = None,
        weight: float = 1.0,
    ) -> None:
        """Push a frame of a track. Returns at once, or when the gate has said what it has to say.

        Args:
            track_id: the track's name, which the camera's tracker gives it.
            picture: uint8 RGB [H, W, 3]; what is needed of it is copied, so that its memory may be filled again. Or a
                file, which is read later.
            box: left, top, width and height in the picture, in pixels; None where the picture is the crop.
            camera: the camera's name; None where there is only one.
            time_s: when it was seen, in seconds of the data's own clock, in any order. A frame with the camera and time
                of one of the last frames of its track is a repetition, which does not count. None if unknown.
            weight: how much the frame counts in the track's embedding; see `FrameEvent`.

        Raises:
            StreamEndedError: the stream has been ended or closed, or the session has failed.
            ValueError: the weight is none, the time is not finite, or the camera's name is empty.
        """
        if time_s is not None and not math.isfinite(time_s):
            raise ValueError(f"a frame's time is {time_s} s; give a finite number, or None if it is unknown")
        if camera == "":
            raise ValueError("a camera's name is empty; give its name, or None if there is only one")
        event = FrameEvent(track_id, _crop(picture, box), time_s, weight=weight)
        refusal = self._gate and refusal_of(self._gate, picture, box)
        with self._changed:
            self._check()
            now = time.monotonic()
            self._inbox.expire(now)  # it is not pulled from where the session stands still
            self._inbox.push(self._key(track_id, camera), camera, event, now, refusal)
            self._changed.notify_all()

    def finish(self, track_id: Hashable, camera: str | None = None) -> bool:
        """End a track; frames of it that still wait come first. A frame of the same name begins a new one.

        Returns:
            Whether there was such a track: it may have expired, or have been finished before.

        Raises:
            StreamEndedError: see `add`.
        """
        with self._changed:
            self._check()
            was_growing = self._inbox.finish(self._key(track_id, camera))
            self._changed.notify_all()
            return was_growing

    def embedding(self, track_id: Hashable, camera: str | None = None) -> NDArray[np.float32] | None:
        """Return what is known so far of a track that goes on.

        Returns:
            float32 [D], L2-normalized; None before the first batch with a frame of it, and after its end.
        """
        with self._changed:
            growing = self._inbox.growing(self._key(track_id, camera))
        return growing.embedding if growing else None

    def counts(self) -> dict[str | None, CameraCounts]:
        """Return what became of each camera's frames so far, by the camera's name."""
        with self._changed:
            return self._inbox.counts()

    def __iter__(self) -> Iterator[LiveTrack]:
        """Yield the tracks in the order in which they end, until the stream has ended. Each comes once.

        Raises:
            BaseException: what the session raises, once, after the tracks that ended before.
            StreamEndedError: the session has failed, and somebody else was told why, or the stream was closed since.
        """
        while (track := self._take()) is not None:
            yield track

    def end(self) -> None:
        """Take no more frames and end all tracks; iteration stops after the last. Does not wait for that."""
        with self._changed:
            if not self._is_ending:
                self._is_ending, self._why_ended = True, "it was ended"
                self._inbox.finish_all()
                self._changed.notify_all()

    def close(self) -> None:
        """Take no more frames, and forget what has not come out; waits for the batches that are being computed."""
        with self._changed:
            self._is_closed = True
            self._finished.clear()
            self._inbox.clear()
            self._error = None
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _key(self, track_id: Hashable, camera: str | None) -> Hashable:
        return track_id if self._across else (camera, track_id)

    def _check(self) -> None:
        if self._is_ending or self._is_closed or self._is_done:
            raise StreamEndedError(f"the stream of tracks takes no more frames: {self._why_ended}; open another")

    def _take(self) -> LiveTrack | None:
        with self._changed:
            self._changed.wait_for(lambda: self._finished or self._is_done)
            if self._finished:
                self._changed.notify_all()
                return self._finished.popleft()
            if self._has_failed:
                raise self._reason()
            return None

    def _reason(self) -> BaseException:
        error, self._error = self._error, None  # one that stays would keep the slots alive, by its traceback
        return error or StreamEndedError(f"the stream of tracks has failed: {self._why_ended}; open another")

    # In the stream's own thread, and in that of the pipeline which pulls.

    def _embed(self, session: Session, max_wait_s: float, weigh: Weigh | None) -> None:
        try:
            for track in embed_events(session, self._events(), max_wait_s=max_wait_s, weigh=weigh, grown=_grow):
                if not self._hand_on(track):
                    break
        except BaseException as error:
            self._stop(error)
        else:
            self._stop(None)

    def _stop(self, error: BaseException | None) -> None:
        with self._changed:
            self._is_done = True
            if error and not self._is_closed:
                self._has_failed, self._error, self._why_ended = True, error, str(error) or type(error).__name__
            self._inbox.clear()
            self._changed.notify_all()

    def _events(self) -> Iterator[FrameEvent]:
        while (event := self._next()) is not None:
            if event.last or self._settled(event):
                yield event

    def _next(self) -> FrameEvent | None:
        with self._changed:
            while not (self._is_closed or self._is_done):
                left = self._inbox.expire(time.monotonic())
                event = self._inbox.pull()
                if event or self._is_ending:
                    return event
                self._changed.wait(left if left is None else min(left, threading.TIMEOUT_MAX))
        return None

    def _settled(self, event: FrameEvent) -> bool:
        """Return whether a frame goes to the session. Cameras push while the policy looks at it."""
        assert isinstance(event.track, Growing)
        assert event.crop is not None
        wanted = event.track.wants(event.crop)
        with self._changed:
            return self._inbox.settle(wanted=wanted)

    def _hand_on(self, track: Track) -> bool:
        assert isinstance(track.name, Growing)
        result = track.name.result()
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._finished) < _FINISHED)
            if not self._is_closed:
                self._finished.append(result)
                self._changed.notify_all()
            return not self._is_closed


def _grow(track: Track) -> None:
    assert isinstance(track.name, Growing)
    track.name.grow(track)


def _crop(picture: str | os.PathLike[str] | NDArray[np.uint8], box: tuple[int, int, int, int] | None) -> Frame:
    if isinstance(picture, np.ndarray):
        return (picture if box is None else cut(Crop(picture, box))).copy()
    if box is not None:
        raise ValueError(f"{os.fspath(picture)} with a box: read the picture first, or give a file that is the crop")
    return Path(picture)
