"""The unit that everything embeds and ranks: a tracklet, of which an image is the shortest."""

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
    """One vehicle seen by one camera over some frames.

    Attributes:
        id: unique within its gallery or query set.
        frames: in order of time; never empty.
        camera: the camera's name, None where it is not known.
        vehicle: the vehicle's identity, None where it is not known.
    """

    id: str
    frames: tuple[Frame, ...]
    camera: str | None = None
    vehicle: str | None = None

    def __post_init__(self) -> None:
        if not self.frames:
            raise ValueError(f"tracklet {self.id!r} has no frames")
