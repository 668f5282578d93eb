"""What waits between cameras that push and the pipeline that pulls: bounded, fair to cameras, and counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

import numpy as np

from reid.runtime.frame_policies import FramePolicy
from reid.runtime.live.growing import Growing
from reid.runtime.live.tracks import CameraCounts
from reid.runtime.pipeline.events import FrameEvent

__all__ = ["Inbox"]

_ENDS = 1000
"""How many ends wait, before those of tracks that have no embedding are lost: a bad camera makes any number of them."""


class Inbox:
    """The frames that wait, in a queue for each camera, and the tracks that grow. For one thread at a time.

    Cameras take turns. Where there is no room for a frame, the longest queue loses its oldest. The end of a track is
    never lost: it follows the last frame of its track that waits.
    """

    def __init__(
        self, room: int, expire_s: float, policy: FramePolicy | None = None, *, keep_pictures: bool = False
    ) -> None:
        """Begin empty.

        Args:
            room: the most frames that wait.
            expire_s: how long a track goes on without a frame, in seconds.
            policy: makes what chooses the frames of a track that are worth an embedding; None for all.
            keep_pictures: whether each track keeps a picture.
        """
        self._room, self._expire_s = room, expire_s
        self._policy, self._keep_pictures = policy, keep_pictures
        self._growing: dict[Hashable, Growing] = {}  # the one whose last frame came longest ago is the first
        self._queues: dict[str | None, deque[FrameEvent]] = {}  # none is empty; the first is next to be pulled from
        self._ends: deque[Growing] = deque()
        self._counts: dict[str | None, CameraCounts] = {}
        self._waiting = 0
        self._pulled: tuple[str | None, FrameEvent] | None = None

    def push(
        self, key: Hashable, camera: str | None, event: FrameEvent, now: float, refusal: str | None = None
    ) -> None:
        """Take a frame.

        Args:
            key: what it has in common with the other frames of its track, and with no other track.
            camera: the camera that saw it.
            event: the frame, under the name that the tracker gave its track.
            now: the time, in seconds of a monotonic clock.
            refusal: why it may not be part of the track's embedding; None if it may.
        """
        track = self._growing.pop(key, None) or self._begin(event.track, camera, now)
        self._growing[key], track.seen = track, now
        counts = self._counts_of(camera)
        counts.pushed += 1
        if track.is_repeated(camera, event.time_s):
            track.repeated += 1
            counts.repeated += 1
            return
        if refusal:
            track.refused, track.reason = track.refused + 1, refusal
            counts.refused += 1
            return
        waiting = FrameEvent(track, event.crop, event.time_s, weight=event.weight)
        self._queues.setdefault(camera, deque()).append(waiting)
        track.waiting += 1
        self._waiting += 1
        if self._waiting > self._room:
            self._drop()

    def pull(self) -> FrameEvent | None:
        """Return the next frame or end of a track, named by its `Growing`; None where nothing waits.

        A frame is to be settled before the next is pulled.
        """
        if self._ends:
            return FrameEvent(self._ends.popleft(), None, last=True)
        if not self._queues:
            return None
        camera = next(iter(self._queues))
        queue = self._queues.pop(camera)
        event = queue.popleft()
        if queue:
            self._queues[camera] = queue  # the others are next
        self._waiting -= 1
        self._pulled = camera, event
        return event

    def settle(self, *, wanted: bool) -> bool:
        """Say whether the frame that was pulled is worth an embedding.

        Returns:
            Whether it goes to the session: it was not forgotten meanwhile.
        """
        if self._pulled is None:
            return False
        (camera, event), self._pulled = self._pulled, None
        track, counts = _track_of(event), self._counts_of(camera)
        track.waiting -= 1
        if wanted:
            track.begun = True
            counts.embedding += 1
            if self._keep_pictures and isinstance(event.crop, (Path, np.ndarray)):
                track.show(event.crop)
        else:
            track.skipped += 1
            counts.skipped += 1
        self._end_if_due(track)
        return wanted

    def finish(self, key: Hashable) -> bool:
        """Let a track end after its frames that wait; return whether there is such a track."""
        track = self._growing.pop(key, None)
        if track:
            track.ended = True
            self._end_if_due(track)
        return track is not None

    def finish_all(self) -> None:
        """Let all tracks end after their frames that wait."""
        for key in tuple(self._growing):
            self.finish(key)

    def expire(self, now: float) -> float | None:
        """Let the tracks end that have had no frame for too long.

        Returns:
            The seconds until the next one is due; None where no track grows.
        """
        while self._growing:
            key, track = next(iter(self._growing.items()))
            left = track.seen + self._expire_s - now
            if left > 0:
                return left
            track.expired = True
            self.finish(key)
        return None

    def growing(self, key: Hashable) -> Growing | None:
        """Return a track that grows."""
        return self._growing.get(key)

    def counts(self) -> dict[str | None, CameraCounts]:
        """Return what became of each camera's frames so far."""
        return {camera: replace(counts) for camera, counts in self._counts.items()}

    def clear(self) -> None:
        """Forget all frames and tracks; what was counted stays, and the frames are counted as forgotten."""
        for camera, queue in self._queues.items():
            self._counts_of(camera).forgotten += len(queue)
        if self._pulled:
            self._counts_of(self._pulled[0]).forgotten += 1
        for waiting in (self._growing, self._queues, self._ends):
            waiting.clear()
        self._waiting, self._pulled = 0, None

    def _begin(self, name: Hashable, camera: str | None, now: float) -> Growing:
        return Growing(name, camera, now, self._policy() if self._policy else None)

    def _counts_of(self, camera: str | None) -> CameraCounts:
        return self._counts.setdefault(camera, CameraCounts())

    def _drop(self) -> None:
        camera = max(self._queues, key=lambda one: len(self._queues[one]))
        queue = self._queues[camera]
        event = queue.popleft()
        if not queue:
            del self._queues[camera]
        self._waiting -= 1
        track = _track_of(event)
        track.waiting -= 1
        track.forget_time(camera, event.time_s)
        track.dropped += 1
        self._counts_of(camera).dropped += 1
        self._end_if_due(track)

    def _end_if_due(self, track: Growing) -> None:
        if not track.ended or track.waiting:
            return
        if track.begun or ((track.refused or track.skipped) and len(self._ends) < _ENDS):
            self._ends.append(track)
        else:  # the pipeline has never heard of it, and need not
            self._counts_of(track.camera).lost_tracks += 1


def _track_of(event: FrameEvent) -> Growing:
    assert isinstance(event.track, Growing)
    return event.track
