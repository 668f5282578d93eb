"""What is known of a live track when it has ended, and what is counted of a camera."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.tracklet import Frame

__all__ = ["CameraCounts", "LiveTrack"]


@dataclass(slots=True)
class CameraCounts:
    """What became of a camera's frames.

    Attributes:
        pushed: the frames that came: those below, and those that still wait.
        embedding: those that were handed to the session; some of them may turn out to be unreadable.
        dropped: those that had to make room for later ones.
        repeated: those that had come before.
        refused: those that the gate kept out.
        skipped: those that the policy did not find worth an embedding.
        forgotten: those that still waited when the stream was closed, or when the session failed.
        lost_tracks: the tracks that ended before any frame of them was handed to the session, and did not come out.
    """

    pushed: int = 0
    embedding: int = 0
    dropped: int = 0
    repeated: int = 0
    refused: int = 0
    skipped: int = 0
    forgotten: int = 0
    lost_tracks: int = 0

    @property
    def waiting(self) -> int:
        """The frames that still wait."""
        left = self.dropped + self.repeated + self.refused + self.skipped + self.forgotten
        return self.pushed - self.embedding - left


@dataclass(frozen=True, slots=True, eq=False)
class LiveTrack:
    """A track that has ended.

    Attributes:
        id: the name that the tracker gave it.
        camera: the camera that saw it first.
        embedding: float32 [D], L2-normalized; None if no frame was admitted that could be read.
        frames: the number of frames that the embedding was made of.
        unreadable: the number of frames that could not be read or weighed.
        refused: the number of frames that the gate kept out.
        reason: why the last of the unreadable or refused was left out; empty where there are none.
        dropped: the number of frames that had to make room for later ones.
        repeated: the number of frames that had come before.
        skipped: the number of frames that the policy did not find worth an embedding.
        first_s: the earliest time of a frame, in seconds of the data's own clock; None if unknown.
        last_s: the latest.
        expired: whether it ended because no frame came, not because it was finished.
        picture: the largest of the frames that were handed to the session, or the first, where they are files; None
            unless the stream keeps pictures.
    """

    id: Hashable
    camera: str | None
    embedding: NDArray[np.float32] | None
    frames: int
    unreadable: int
    refused: int
    reason: str
    dropped: int
    repeated: int
    skipped: int
    first_s: float | None
    last_s: float | None
    expired: bool
    picture: Frame | None

    @property
    def time_s(self) -> float | None:
        """The middle of the track; None if unknown."""
        return None if self.first_s is None or self.last_s is None else (self.first_s + self.last_s) / 2
