"""When the memory does not suffice for a step: how many frames at a time would fit."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

__all__ = ["fitting_micro_batch", "is_out_of_memory"]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a GPU's memory, or the machine's, was too small."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def fitting_micro_batch(attempt: Callable[[int], object], frames: int) -> int:
    """Try half as many frames at a time until it works; 0 if not even one at a time does.

    Args:
        attempt: a step with as many frames at a time. What it leaves in the model is of no use.
        frames: at a time that were too many.
    """
    while frames > 1:
        frames //= 2
        gc.collect()  # graphs of the attempt before
        torch.cuda.empty_cache()
        try:
            attempt(frames)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return frames
    return 0
