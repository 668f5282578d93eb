"""What a gallery knows of an embedding besides its numbers."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from reid.runtime.tracklet import Tracklet

__all__ = ["Entry", "entry_of"]

_MOST_FRAMES = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of an embedding: everything but the embedding.

    Attributes:
        id: unique within its gallery, not empty.
        camera: the camera that saw it; None where that is not known.
        vehicle: the vehicle that it shows; None where that is not known.
        time_s: when it was seen, in seconds on the data's own clock: the middle of a track. None if not known.
        picture: where a picture of it is; empty for none.
        frames: the frames that its embedding was made of; 0 where that is not known.
    """

    id: str
    camera: str | None = None
    vehicle: str | None = None
    time_s: float | None = None
    picture: str = ""
    frames: int = 0

    def flaw(self) -> str:
        """Return what keeps it out of a gallery, in a few words; "" for nothing."""
        if not self.id:
            return "its id is empty"
        if self.camera == "" or self.vehicle == "":
            return f"the {'camera' if self.camera == '' else 'vehicle'} is empty, where None says that it is not known"
        if self.time_s is not None and not math.isfinite(self.time_s):
            return f"its time is {self.time_s}"
        if not 0 <= self.frames <= _MOST_FRAMES:
            return f"it has {self.frames} frames"
        return "its picture's path holds a NUL" if "\0" in self.picture else ""


def entry_of(tracklet: Tracklet, unreadable: Collection[int] = ()) -> Entry:
    """Return what a gallery knows of a tracklet.

    Args:
        tracklet: the tracklet; the middle one of the frames in its embedding is its picture, if that is a file.
        unreadable: the numbers of the frames that are not in its embedding.
    """
    frames = [frame for number, frame in enumerate(tracklet.frames) if number not in unreadable]
    middle = frames[len(frames) // 2]
    picture = str(middle.absolute()) if isinstance(middle, Path) else ""
    return Entry(tracklet.id, tracklet.camera or None, tracklet.vehicle or None, None, picture, len(frames))
