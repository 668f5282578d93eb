"""The unit that is embedded and ranked: a tracklet. An image is a tracklet of one frame."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "Tracklet"]

Frame: TypeAlias = Path | NDArray[np.uint8]
"""An image file, or a decoded RGB crop, uint8 [H, W, 3]."""


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Tracklet:
    """One vehicle, seen by one camera over some frames.

    Attributes:
        id: a name that is unique within the gallery or the query set.
        frames: the frames in order of time, at least one.
        camera: the name of the camera; None if unknown.
        vehicle: the identity of the vehicle; None if unknown.
    """

    id: str
    frames: tuple[Frame, ...]
    camera: str | None = None
    vehicle: str | None = None

    def __init__(
        self,
        id: str,  # noqa: A002 - the attribute's name
        frames: Iterable[str | os.PathLike[str] | NDArray[np.uint8]],
        camera: str | None = None,
        vehicle: str | None = None,
    ) -> None:
        given = _as_frames(frames)
        if not given:
            raise ValueError(f"tracklet {id!r} has no frames")
        for name, value in (("id", id), ("frames", given), ("camera", camera), ("vehicle", vehicle)):
            object.__setattr__(self, name, value)


def _as_frames(frames: Iterable[str | os.PathLike[str] | NDArray[np.uint8]]) -> tuple[Frame, ...]:
    given = tuple(frames)
    if all(isinstance(frame, (Path, np.ndarray)) for frame in given):
        return cast("tuple[Frame, ...]", given)  # not a copy, which takes as much memory again
    return tuple(frame if isinstance(frame, np.ndarray) else Path(frame) for frame in given)
