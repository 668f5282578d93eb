"""The gate before a live track: crops that are too bad to be part of its embedding stay out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.errors import DataError
from reid.runtime.pipeline.events import Crop, read_crop
from reid.runtime.quality import Box, Quality, assess

__all__ = ["Gate", "refusal_of"]

Gate: TypeAlias = Callable[[Quality], "str | None"]
"""Returns why a crop of a quality is refused, in a few words; None if it may pass."""


def refusal_of(gate: Gate, picture: str | os.PathLike[str] | NDArray[np.uint8], box: Box | None) -> str | None:
    """Return why a frame is refused; None if it may pass, or cannot be read: the pipeline then says why it cannot."""
    frame = picture if isinstance(picture, np.ndarray) else Path(picture)
    try:
        if isinstance(frame, np.ndarray) and box is not None:
            height, width = frame.shape[:2]
            return gate(assess(read_crop(Crop(frame, box), "the crop"), box, (width, height)))
        return gate(assess(read_crop(frame, "the crop")))
    except DataError:
        return None
