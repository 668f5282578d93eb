"""What commands say of frames and files that were left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid.runtime.left_out import LeftOut

__all__ = ["note_files", "note_frames"]

logger = logging.getLogger(__name__)


def note_frames(reasons: Sequence[str], frames: int, what: str = "could not be read") -> None:
    """Log how many of all frames were left out, if any, and why the first were."""
    if reasons:
        logger.warning("%d of %d frames %s: %s", len(reasons), frames, what, "; ".join(reasons[:3]))


def note_files(crops: Path, left_out: Sequence[LeftOut]) -> None:
    """Log which files of crops are no frames, if any."""
    from reid.runtime.left_out import names_sentence

    if any(one.files for one in left_out):
        logger.warning("%s: %s", crops, names_sentence(left_out))
