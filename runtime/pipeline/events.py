"""What the pipeline takes: frames of tracks, one after another, in any mixture of tracks."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.imaging import read_frame
from reid.runtime.tracklet import Frame, Tracklet

__all__ = ["Arrival", "Crop", "FrameEvent", "as_weight", "cut", "events_of", "read_crop"]

_LIGHTEST, _HEAVIEST = 1e-6, 1e6
"""Between these, sums in single precision lose nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A box in a picture, as a detector gives it.

    Attributes:
        picture: uint8 RGB [H, W, 3]. It is read later, in another thread: a camera's buffer has to be copied before it
            is filled again.
        box: left, top, width and height in pixels; what lies outside the picture is cut off.
    """

    picture: NDArray[np.uint8]
    box: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False, init=False)
class FrameEvent:
    """A frame of a track, or the end of one.

    Attributes:
        track: the name of the track; a track that begins after another of the same name has ended is a new one.
        crop: the frame, read later like a Crop's picture; None for the end alone.
        time_s: when it was seen, in seconds; None if unknown.
        last: whether it is the last of the track.
        weight: how much the frame counts in the track's embedding; see `as_weight`.
    """

    track: Hashable
    crop: Frame | Crop | None
    time_s: float | None
    last: bool
    weight: float

    def __init__(
        self,
        track: Hashable,
        crop: str | os.PathLike[str] | NDArray[np.uint8] | Crop | None,
        time_s: float | None = None,
        last: bool = False,
        weight: float = 1.0,
    ) -> None:
        given = crop if crop is None or isinstance(crop, (np.ndarray, Crop)) else Path(crop)
        fields = {"track": track, "crop": given, "time_s": time_s, "last": last, "weight": as_weight(weight)}
        for name, value in fields.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """One appearance of a tracklet in a stream. The same tracklet may appear twice: arrivals compare by identity."""

    tracklet: Tracklet

    def __str__(self) -> str:
        """Return the tracklet's id."""
        return self.tracklet.id


def as_weight(value: float) -> float:
    """Return a frame's weight.

    Only ratios count: a track's embedding has length 1. A frame that weighs nothing counts only in a track where all
    weigh nothing, which then has the plain mean of its frames.

    Args:
        value: from 0 to a million; less than a millionth is 0.

    Raises:
        ValueError: it is less, more, or no number.
    """
    if not 0 <= value <= _HEAVIEST:
        raise ValueError(f"a frame's weight is {value}; give a number from 0 to {_HEAVIEST:.0f}")
    return float(value) if value >= _LIGHTEST else 0.0


def events_of(tracklets: Iterable[Tracklet]) -> Iterator[FrameEvent]:
    """Yield the frames of tracklets, taken lazily; the name of each track is an `Arrival`."""
    for tracklet in tracklets:
        arrival, last = Arrival(tracklet), len(tracklet.frames) - 1
        for index, frame in enumerate(tracklet.frames):
            yield FrameEvent(arrival, frame, last=index == last)


def read_crop(crop: Frame | Crop, name: str) -> NDArray[np.uint8]:
    """Return a crop's pixels, uint8 RGB [h, w, 3].

    Args:
        crop: the crop.
        name: what it is called where it is no file.

    Raises:
        DataError: the file cannot be read, or the pixels are none, or of another type or shape.
    """
    pixels = cut(crop) if isinstance(crop, Crop) else read_frame(crop)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise DataError(f"{name} is {pixels.dtype} {list(pixels.shape)}, expected uint8 [H, W, 3]")
    return pixels


def cut(crop: Crop) -> NDArray[np.uint8]:
    """Return what of a crop's box lies in the picture, a view; it may be empty."""
    left, top, width, height = crop.box
    return crop.picture[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
