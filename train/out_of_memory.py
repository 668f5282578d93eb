"""Out of memory in a step: how many frames at a time would fit."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable

import torch

__all__ = ["fitting_micro_batch", "is_out_of_memory"]


# PyTorch's own allocators raise OutOfMemoryError, or name themselves; CUDA's libraries allocate by themselves, too.
_TEXTS = re.compile(
    r"DefaultCPUAllocator: can't allocate memory|CUDA error: out of memory|CU(BLAS|SOLVER|SPARSE)_STATUS_ALLOC_FAILED"
    r"|CUDNN_STATUS_(ALLOC_FAILED|INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED|INTERNAL_ERROR_HOST_ALLOCATION_FAILED)"
)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether the memory of a GPU, or of the machine, was too small."""
    return isinstance(error, torch.OutOfMemoryError) or _TEXTS.search(str(error)) is not None


def fitting_micro_batch(attempt: Callable[[int], object], frames: int) -> int:
    """Halve the frames computed at a time until a step fits; return their number, or 0 if not even one frame fits.

    Args:
        attempt: takes a step with this many frames at a time. Afterwards the model is no longer of use.
        frames: number of frames at a time that did not fit.
    """
    while frames > 1:
        frames //= 2
        gc.collect()  # the graphs of the previous attempt
        torch.cuda.empty_cache()
        try:
            attempt(frames)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return frames
    return 0
