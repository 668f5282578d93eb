"""A batch that is being filled: a slot, and what its rows and positions belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.imaging import decode, read_image
from reid.runtime.pipeline.events import Crop, as_weight, read_crop
from reid.runtime.pipeline.tracks import Track, Unreadable
from reid.runtime.sessions.clocks import timing
from reid.runtime.sessions.session import BatchLimits, Embeddings
from reid.runtime.sessions.slots import ImageFile, Slot
from reid.runtime.tracklet import Frame

__all__ = ["Filling", "Look", "Member", "Weigh"]

Weigh: TypeAlias = Callable[[NDArray[np.uint8]], float]
"""The weight of a frame, from its pixels, RGB [h, w, 3] before they are resized."""

Look: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""What is measured of a frame, float64 [F], from the same pixels."""


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
        weights: the weight of the frame at each position.
        rows: the track of each row of `pooling`.
        undecoded: the number of positions whose pixels are still to come.
        failures: position -> why its frame was left out.
        looks: position -> what was measured of its frame; empty where nothing is.
        decode_s: the seconds that reading and decoding each frame took on the CPU, in any order.
    """

    slot: Slot
    limits: BatchLimits
    began: float
    members: list[Member] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    rows: dict[Track, int] = field(default_factory=dict)
    undecoded: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    looks: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    decode_s: list[float] = field(default_factory=list)

    def has_room(self, track: Track) -> bool:
        """Return whether another frame of a track fits."""
        return not self.is_full and (track in self.rows or len(self.rows) < self.limits.tracklets)

    @property
    def is_full(self) -> bool:
        """Whether no frame of any track fits."""
        return len(self.members) == self.limits.frames

    def add(self, track: Track, weight: float) -> int:
        """Give the next frame of a track a position, and return it."""
        row, position = self.rows.setdefault(track, len(self.rows)), len(self.members)
        self.members.append(Member(track, track.received, row))
        self.weights.append(weight)
        self.slot.pooling[row, position] = weight
        self.undecoded += 1
        track.received += 1
        return position

    def decode(self, position: int, crop: Frame | Crop, weigh: Weigh | None = None, look: Look | None = None) -> None:
        """Fill a position, or leave it for `finish`, where nothing weighs or measures its frame.

        One whose frame cannot be read or weighed stays as it was, and no row of `pooling` takes it.
        """
        with self._leaving_out(position):
            with timing(self.decode_s.append):
                pixels = self._read(position, crop, on_device=weigh is None and look is None)
            if pixels is not None:
                if weigh:
                    self._weigh(position, weigh, pixels)
                if look:
                    self.looks[position] = look(pixels)
                self.slot.place(position, pixels)

    def finish(self) -> None:
        """Fill the positions that were left to the slot's device; what that cannot decode is decoded here."""
        for file in self.slot.decode():  # the session's clocks tell how long that takes
            with self._leaving_out(file.position):
                with timing(self.decode_s.append):
                    pixels = decode(file.content, file.path)
                self.slot.place(file.position, pixels)

    def _read(self, position: int, crop: Frame | Crop, *, on_device: bool) -> NDArray[np.uint8] | None:
        """Return a crop's pixels; None if the slot keeps its file."""
        if isinstance(crop, Path):
            content = read_image(crop)
            is_kept = on_device and self.slot.keep(ImageFile(position, content, crop))
            return None if is_kept else decode(content, crop)
        member = self.members[position]
        return read_crop(crop, f"frame {member.index} of {member.track.name}")

    def _weigh(self, position: int, weigh: Weigh, pixels: NDArray[np.uint8]) -> None:
        try:
            weight = as_weight(self.weights[position] * weigh(pixels))
        except DataError:
            raise
        except Exception as error:  # what one frame brings about must not end the tracks of all
            raise DataError(f"cannot be weighed, {type(error).__name__}: {error}") from error
        self.weights[position] = weight
        self.slot.pooling[self.members[position].row, position] = weight

    @contextmanager
    def _leaving_out(self, position: int) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            self.slot.pooling[self.members[position].row, position] = 0
            self.failures[position] = str(error)

    def take(self, embeddings: Embeddings, *, keep_frames: bool) -> None:
        """Add what was computed to the tracks."""
        read: dict[Track, list[int]] = {}
        for position, member in enumerate(self.members):
            if position not in self.failures:
                read.setdefault(member.track, []).append(position)
        for track, positions in read.items():
            weight = sum(self.weights[position] for position in positions)
            frames = embeddings.frame_embedding
            pooled = embeddings.pooled[self.rows[track]] if weight else frames[positions].sum(axis=0)
            track.add(pooled, weight, len(positions))
            if self.looks:
                track.look(np.sum([self.looks[position] for position in positions], axis=0))
            for position in positions if keep_frames else ():
                track.frames[self.members[position].index] = frames[position].copy()

    def report(self) -> None:
        """Tell the tracks which of their frames were left out."""
        for position, reason in sorted(self.failures.items()):
            member = self.members[position]
            member.track.unreadable.append(Unreadable(member.index, reason))
