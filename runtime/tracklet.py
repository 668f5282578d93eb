"""The unit that is embedded and ranked: a tracklet. An image is a tracklet of one frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "Tracklet"]

Frame: TypeAlias = Path | NDArray[np.uint8]
"""An image file, or a decoded RGB crop, uint8 [H, W, 3]."""


@dataclass(frozen=True, slots=True, eq=False)
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

    def __post_init__(self) -> None:
        if not self.frames:
            raise ValueError(f"tracklet {self.id!r} has no frames")
