"""Errors that stop a run; each says where the run stopped and how to continue."""

from __future__ import annotations

import contextlib
import errno
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from reid.runtime.errors import ReidError
from reid.runtime.files.storage import atomic_write
from reid.train.out_of_memory import fitting_micro_batch, is_out_of_memory

__all__ = ["NOT_FINITE_FILE", "full_disk_explained", "not_finite", "out_of_memory_explained", "too_little_memory"]

NOT_FINITE_FILE = "not-finite.json"
_NAMED = 3  # images in the message


def not_finite(
    run: Path, epoch: int, step: int, values: Mapping[str, float], images: Sequence[str], checkpoint: Path | None
) -> ReidError:
    """Return the error for a step whose loss or gradient is not finite, and list its images in the run's folder.

    Args:
        run: the run's folder, which exists.
        epoch: the epoch, counted from 1.
        step: the step within the epoch, counted from 1.
        values: the step's values by name.
        images: names of the images in the batch.
        checkpoint: the last good checkpoint; None where there is none.
    """
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    shown = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
    report = {"epoch": epoch, "step": step, "values": shown, "images": list(images)}
    file = run / NOT_FINITE_FILE
    atomic_write(file, (json.dumps(report, indent=2) + "\n").encode())
    more = f" and {len(images) - _NAMED} more in {file}" if len(images) > _NAMED else ""
    before = f"--weights {checkpoint} (the last good checkpoint) and " if checkpoint else ""
    return ReidError(
        f"{', '.join(wrong)} not finite at epoch {epoch}, step {step}, with {', '.join(images[:_NAMED])}{more}; "
        f"train again with {before}a lower learning rate, --set learning_rate=VALUE"
    )


def too_little_memory(frames: int, attempt: Callable[[int], object] | None) -> ReidError:
    """Return the error for a step that needs too much memory, with a number of frames that would fit.

    Args:
        frames: number of frames computed at a time.
        attempt: takes the step with this many frames at a time; None proposes half of them without trying.
    """
    fits = frames // 2 if attempt is None else fitting_micro_batch(attempt, frames)
    if not fits:
        return ReidError("out of memory, even with 1 frame at a time; choose a smaller --image-size or --backbone")
    tried = "may fit" if attempt is None else "fit"
    return ReidError(
        f"out of memory with {frames} frames at a time; {fits} {tried}: --set micro_batch={fits} (the losses still see "
        "the whole batch), also when you --resume"
    )


@contextlib.contextmanager
def out_of_memory_explained() -> Iterator[None]:
    """Explain that the memory does not suffice to build a model.

    Raises:
        ReidError: instead of PyTorch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ReidError(
            "out of memory while the model is built; choose a smaller --backbone, or smaller settings with "
            "--set embedding_size=VALUE and --set memory_size=VALUE"
        ) from None


@contextlib.contextmanager
def full_disk_explained(run: Path) -> Iterator[None]:
    """Explain what a full disk means for the run.

    Raises:
        ReidError: instead of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ReidError(
            f"{run}: the disk is full; everything stored before is intact: free some space and --resume"
        ) from None
