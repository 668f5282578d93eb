"""What is known of a live track, while it grows and when it has ended, and what is counted of a camera."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reid.runtime.normalization import normalize
from reid.runtime.pipeline.tracks import Track

__all__ = ["CameraCounts", "Growing", "LiveTrack"]

_REMEMBERED = 32


@dataclass(slots=True)
class CameraCounts:
    """What became of a camera's frames.

    Attributes:
        pushed: the frames that came: those below, and those that still wait.
        embedding: those that were handed to the session; some of them may turn out to be unreadable.
        dropped: those that had to make room for later ones.
        repeated: those that had come before.
        forgotten: those that still waited when the stream was closed, or when the session failed.
        lost_tracks: the tracks that ended before any frame of them was handed to the session.
    """

    pushed: int = 0
    embedding: int = 0
    dropped: int = 0
    repeated: int = 0
    forgotten: int = 0
    lost_tracks: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class LiveTrack:
    """A track that has ended.

    Attributes:
        id: the name that the tracker gave it.
        camera: the camera that saw it first.
        embedding: float32 [D], L2-normalized; None if no frame could be read.
        frames: the number of frames that the embedding was made of.
        unreadable: the number of frames that could not be read or weighed.
        reason: why the last of these could not; empty where there are none.
        dropped: the number of frames that had to make room for later ones.
        repeated: the number of frames that had come before.
        first_s: the earliest time of a frame, in seconds of the data's own clock; None if unknown.
        last_s: the latest.
        expired: whether it ended because no frame came, not because it was finished.
    """

    id: Hashable
    camera: str | None
    embedding: NDArray[np.float32] | None
    frames: int
    unreadable: int
    reason: str
    dropped: int
    repeated: int
    first_s: float | None
    last_s: float | None
    expired: bool


@dataclass(slots=True, eq=False)
class Growing:
    """A track that has not come out yet. Two of the same name are two tracks.

    Attributes:
        id: see LiveTrack; also camera, dropped, repeated, unreadable, reason, expired, first_s and last_s.
        seen: when its last frame came, in seconds of a monotonic clock.
        waiting: the number of its frames that are still to be handed to the session.
        begun: whether a frame has been handed to the session.
        ended: whether no more frames come.
        frames: the number of its frames that have been embedded.
        pooled: their sum, see Track; None before the first.
    """

    id: Hashable
    camera: str | None
    seen: float
    waiting: int = 0
    begun: bool = False
    ended: bool = False
    expired: bool = False
    dropped: int = 0
    repeated: int = 0
    unreadable: int = 0
    reason: str = ""
    first_s: float | None = None
    last_s: float | None = None
    frames: int = 0
    pooled: NDArray[np.float64] | None = None
    _times: deque[tuple[str | None, float]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"track {self.id}" if self.camera is None else f"track {self.id} of camera {self.camera}"

    @property
    def embedding(self) -> NDArray[np.float32] | None:
        """Its embedding so far, float32 [D], L2-normalized; None if no frame has been read. Any thread may ask."""
        return None if self.pooled is None else normalize(self.pooled.astype(np.float32))

    def is_repeated(self, camera: str | None, time_s: float | None) -> bool:
        """Take the time of a frame; return whether one of the last frames came from that camera at that time."""
        if time_s is None:
            return False
        if (camera, time_s) in self._times:
            return True
        self._times.append((camera, time_s))
        self.first_s = time_s if self.first_s is None else min(self.first_s, time_s)
        self.last_s = time_s if self.last_s is None else max(self.last_s, time_s)
        return False

    def forget_time(self, camera: str | None, time_s: float | None) -> None:
        """Let a frame come again: the one that came was dropped."""
        if time_s is not None and (camera, time_s) in self._times:
            self._times.remove((camera, time_s))

    def grow(self, track: Track) -> None:
        """Take what the session has embedded so far, and what could not be read; a list of that might grow for ever."""
        self.frames, self.pooled = track.embedded, track.pooled
        if track.unreadable:
            self.unreadable += len(track.unreadable)
            self.reason = track.unreadable[-1].reason
            track.unreadable.clear()

    def result(self) -> LiveTrack:
        """Return what became of it."""
        return LiveTrack(
            id=self.id,
            camera=self.camera,
            embedding=self.embedding,
            frames=self.frames,
            unreadable=self.unreadable,
            reason=self.reason,
            dropped=self.dropped,
            repeated=self.repeated,
            first_s=self.first_s,
            last_s=self.last_s,
            expired=self.expired,
        )
