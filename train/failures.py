"""What stops a run, each in a sentence that says where it stopped and how to go on."""

from __future__ import annotations

import contextlib
import errno
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from reid.runtime.errors import ReidError
from reid.runtime.storage import atomic_write
from reid.train.out_of_memory import fitting_micro_batch

__all__ = ["NOT_FINITE_FILE", "full_disk_explained", "not_finite", "too_little_memory"]

NOT_FINITE_FILE = "not-finite.json"
_NAMED = 3


def not_finite(
    run: Path, epoch: int, step: int, values: Mapping[str, float], images: Sequence[str], checkpoint: Path | None
) -> ReidError:
    """Describe a step whose loss or gradient is infinite or no number; all of its images are named in the run's folder.

    Args:
        run: the folder, or what is to be written to it is lost.
        epoch: from 1.
        step: from 1.
        values: of the step.
        images: of its batch.
        checkpoint: the last good one.
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
        f"train anew with {before}a lower learning rate, --set learning_rate=.."
    )


def too_little_memory(frames: int, attempt: Callable[[int], object] | None) -> ReidError:
    """Describe a step that the memory does not suffice for, by what would fit.

    Args:
        frames: computed at a time.
        attempt: takes the step with as many frames at a time; without, half of them are proposed untried.
    """
    fits = frames // 2 if attempt is None else fitting_micro_batch(attempt, frames)
    if not fits:
        return ReidError(
            "out of memory, and not even 1 frame at a time fits; choose a smaller --image-size or --backbone"
        )
    tried = "may fit" if attempt is None else "fit"
    return ReidError(
        f"out of memory with {frames} frames at a time; {fits} {tried}: --set micro_batch={fits} (the losses still see "
        "the whole batch), also with --resume"
    )


@contextlib.contextmanager
def full_disk_explained(run: Path) -> Iterator[None]:
    """Say of a full disk what became of the run.

    Raises:
        ReidError: in place of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ReidError(
            f"{run}: the disk is full; what was stored before is whole: free some space, then --resume goes on"
        ) from None
