"""A batch that is being filled: a slot, and what its rows and positions belong to."""

from __future__ import annotations

from dataclasses import dataclass, field

from reid.runtime.errors import DataError
from reid.runtime.pipeline.events import Crop, read_crop
from reid.runtime.pipeline.tracks import Track, Unreadable
from reid.runtime.sessions.session import BatchLimits, Embeddings
from reid.runtime.sessions.slots import Slot
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
    """

    slot: Slot
    limits: BatchLimits
    began: float
    members: list[Member] = field(default_factory=list)
    rows: dict[Track, int] = field(default_factory=dict)
    undecoded: int = 0
    failures: dict[int, str] = field(default_factory=dict)

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
        """Fill a position. One whose frame cannot be read stays as it was, and no row of `pooling` takes it."""
        member = self.members[position]
        try:
            self.slot.place(position, read_crop(crop, f"frame {member.index} of {member.track.name}"))
        except DataError as error:
            self.slot.pooling[member.row, position] = 0
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
