"""A live track that has not come out yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.frame_policies import FrameChooser
from reid.runtime.live.tracks import LiveTrack
from reid.runtime.normalization import normalize
from reid.runtime.pipeline.events import Crop, read_crop
from reid.runtime.pipeline.tracks import Track
from reid.runtime.tracklet import Frame

__all__ = ["Growing"]

_REMEMBERED = 32


@dataclass(slots=True, eq=False)
class Growing:
    """A track that grows. Two of the same name are two tracks.

    Attributes:
        id: see LiveTrack; also camera, dropped, repeated, skipped, refused, unreadable, reason, expired, first_s,
            last_s and picture.
        seen: when its last frame came, in seconds of a monotonic clock.
        chooser: says which frames are worth an embedding; None for all.
        waiting: the number of its frames that are still to be handed to the session.
        begun: whether a frame has been handed to the session.
        ended: whether no more frames come.
        pooled: the number of its frames that have been embedded, and their sum, see Track; None before the first.
            Replaced as one, so that any thread may read it.
    """

    id: Hashable
    camera: str | None
    seen: float
    chooser: FrameChooser | None = None
    waiting: int = 0
    begun: bool = False
    ended: bool = False
    expired: bool = False
    dropped: int = 0
    repeated: int = 0
    skipped: int = 0
    refused: int = 0
    unreadable: int = 0
    reason: str = ""
    first_s: float | None = None
    last_s: float | None = None
    pooled: tuple[int, NDArray[np.float64]] | None = None
    picture: Frame | None = None
    _times: deque[tuple[str | None, float]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"track {self.id}" if self.camera is None else f"track {self.id} of camera {self.camera}"

    @property
    def embedding(self) -> NDArray[np.float32] | None:
        """Its embedding so far, float32 [D], L2-normalized; None if no frame has been read. Any thread may ask."""
        pooled = self.pooled
        return None if pooled is None else _embedding_of(pooled[1])

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

    def wants(self, crop: Frame | Crop) -> bool:
        """Return whether a frame is worth an embedding; one that cannot be read is: the pipeline says why it cannot."""
        if self.chooser is None:
            return True
        try:
            pixels = read_crop(crop, str(self))
        except DataError:
            return True
        if pooled := self.pooled:
            self.chooser.took(_embedding_of(pooled[1]), pooled[0])
        return self.chooser.wants(pixels)

    def show(self, crop: Frame) -> None:
        """Keep a frame as the picture, if there is none or if it is larger."""
        if self.picture is None or _size(crop) > _size(self.picture):
            self.picture = crop

    def grow(self, track: Track) -> None:
        """Take what the session has embedded so far, and what could not be read; a list of that might grow for ever."""
        if track.pooled is not None:
            self.pooled = track.embedded, track.pooled
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
            frames=self.pooled[0] if self.pooled else 0,
            unreadable=self.unreadable,
            refused=self.refused,
            reason=self.reason,
            dropped=self.dropped,
            repeated=self.repeated,
            skipped=self.skipped,
            first_s=self.first_s,
            last_s=self.last_s,
            expired=self.expired,
            picture=self.picture,
        )


def _embedding_of(pooled: NDArray[np.float64]) -> NDArray[np.float32]:
    return normalize(pooled.astype(np.float32))


def _size(frame: Frame) -> int:
    """Return the pixels of a crop; 0 where it is none, and for a file, which is read later."""
    return frame.size if isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.shape[2:] == (3,) else 0
