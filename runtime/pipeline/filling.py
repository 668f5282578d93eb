"""A batch that is being filled: a slot, and what its rows and positions belong to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.imaging import decode, read_image
from reid.runtime.pipeline.events import Crop, read_crop
from reid.runtime.pipeline.tracks import Track, Unreadable
from reid.runtime.sessions.clocks import timing
from reid.runtime.sessions.session import BatchLimits, Embeddings
from reid.runtime.sessions.slots import ImageFile, Slot
from reid.runtime.tracklet import Frame

__all__ = ["Filling", "Member"]


@dataclass(frozen=True, slots=True)
class Member:
    """A frame's place in a batch: its track, its index in the track, and its row of `pooling`."""

    track: Track
    index: int
    row: int


@dataclass(slots=True, eq=False)
class Filling:
    """A batch that is being filled, or was.

    Attributes:
        slot: where the pixels go.
        limits: the largest batch.
        began: when its first frame came, in seconds of a monotonic clock.
        members: the frame at each position.
        rows: the track of each row of `pooling`.
        undecoded: the number of positions whose pixels are still to come.
        failures: position -> why its frame was left out.
        decode_s: the seconds that reading and decoding each frame took on the CPU, in any order.
    """

    slot: Slot
    limits: BatchLimits
    began: float
    members: list[Member] = field(default_factory=list)
    rows: dict[Track, int] = field(default_factory=dict)
    undecoded: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    decode_s: list[float] = field(default_factory=list)

    def has_room(self, track: Track) -> bool:
        """Return whether another frame of a track fits."""
        return not self.is_full and (track in self.rows or len(self.rows) < self.limits.tracklets)

    @property
    def is_full(self) -> bool:
        """Whether no frame of any track fits."""
        return len(self.members) == self.limits.frames

    def add(self, track: Track) -> int:
        """Give the next frame of a track a position, and return it."""
        row, position = self.rows.setdefault(track, len(self.rows)), len(self.members)
        self.members.append(Member(track, track.received, row))
        self.slot.pooling[row, position] = 1
        self.undecoded += 1
        track.received += 1
        return position

    def decode(self, position: int, crop: Frame | Crop) -> None:
        """Fill a position, or leave it for `finish`.

        One whose frame cannot be read stays as it was, and no row of `pooling` takes it.
        """
        with self._leaving_out(position):
            with timing(self.decode_s.append):
                pixels = self._read(position, crop)
            if pixels is not None:
                self.slot.place(position, pixels)

    def finish(self) -> None:
        """Fill the positions that were left to the slot's device; what that cannot decode is decoded here."""
        for file in self.slot.decode():  # the session's clocks tell how long that takes
            with self._leaving_out(file.position):
                with timing(self.decode_s.append):
                    pixels = decode(file.content, file.path)
                self.slot.place(file.position, pixels)

    def _read(self, position: int, crop: Frame | Crop) -> NDArray[np.uint8] | None:
        """Return a crop's pixels; None if the slot keeps its file."""
        if isinstance(crop, Path):
            content = read_image(crop)
            return None if self.slot.keep(ImageFile(position, content, crop)) else decode(content, crop)
        member = self.members[position]
        return read_crop(crop, f"frame {member.index} of {member.track.name}")

    @contextmanager
    def _leaving_out(self, position: int) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            self.slot.pooling[self.members[position].row, position] = 0
            self.failures[position] = str(error)

    def take(self, embeddings: Embeddings, *, keep_frames: bool) -> None:
        """Add what was computed to the tracks."""
        read = [(at, member) for at, member in enumerate(self.members) if at not in self.failures]
        for track, row in {member.track: member.row for _, member in read}.items():
            track.add(embeddings.pooled[row])
        for position, member in read if keep_frames else ():
            member.track.frames[member.index] = embeddings.frame_embedding[position].copy()

    def report(self) -> None:
        """Tell the tracks which of their frames were left out."""
        for position, reason in sorted(self.failures.items()):
            member = self.members[position]
            member.track.unreadable.append(Unreadable(member.index, reason))
