"""Parts of a set of tracklets: what one worker embeds at a time, and what is lost where it is killed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from reid.runtime.files.archives import split_virtual
from reid.runtime.tracklet import Tracklet

__all__ = ["Part", "Task", "cut"]

_FRAMES = 1024
"""The frames of a part: minutes on one core, and half a second on a large GPU, which waits at the end of each."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the tracklets, in their order.

    Attributes:
        number: its place among the parts, from 0 on.
        digest: of the tracklets' ids, and of the paths, sizes and times of their frames.
        tracklets: the tracklets.
    """

    number: int
    digest: str
    tracklets: tuple[Tracklet, ...]

    def without(self, known: Set[str]) -> Task:
        """Return the task to embed it, but for tracklets of some ids."""
        wanted = {place: one for place, one in enumerate(self.tracklets) if one.id not in known}
        return Task(self.number, self.digest, wanted)


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be embedded of a part.

    Attributes:
        number: that of the part.
        digest: that of the part.
        tracklets: place in the part, ascending -> the tracklet.
    """

    number: int
    digest: str
    tracklets: dict[int, Tracklet]

    @property
    def frames(self) -> int:
        """The number of frames to embed."""
        return sum(len(tracklet.frames) for tracklet in self.tracklets.values())


def cut(tracklets: Sequence[Tracklet]) -> Iterator[Part]:
    """Cut tracklets into parts, each of which ends with the tracklet that gives it a thousand frames.

    So the same tracklets are cut in the same way, however many workers there are and whatever is embedded already.
    """
    first = counted = number = 0
    for place, tracklet in enumerate(tracklets, start=1):
        counted += len(tracklet.frames)
        if counted >= _FRAMES or place == len(tracklets):
            chosen = tuple(tracklets[first:place])
            yield Part(number, _digest(chosen), chosen)
            first, counted, number = place, 0, number + 1


def _digest(tracklets: Sequence[Tracklet]) -> str:
    digest = hashlib.sha256()
    for tracklet in tracklets:
        marks = (_mark(frame) for frame in tracklet.frames if isinstance(frame, Path))
        line = "\0".join((tracklet.id, *marks))  # no name holds a NUL
        digest.update(line.encode("utf-8", "surrogatepass") + b"\0\0")
    return digest.hexdigest()


def _mark(frame: Path) -> str:
    """Return what tells a file from others, and from what it was before: of an archive's member, by its archive."""
    file, _ = split_virtual(frame) or (frame, "")
    try:
        found = os.stat(file)
    except OSError:  # who reads it says so
        return str(frame)
    return f"{frame}\0{found.st_size} {found.st_mtime_ns}"
