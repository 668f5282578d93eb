"""What several sections measure with: times, differences, free memory, and batches of random pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["free_mib", "greatest_difference", "median_ms", "random_batch", "synchronize"]


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def median_ms(task: Callable[[], object], times: int = 20, warm_up: int = 3) -> float:
    """Return the median wall time of a task in milliseconds; each run waits for the GPU."""
    for _ in range(warm_up):
        task()
    spans = []
    for _ in range(times):
        synchronize()
        began = time.perf_counter()
        task()
        synchronize()
        spans.append(1e3 * (time.perf_counter() - began))
    return round(float(np.median(spans)), 4)


def random_batch(
    side: int, frames: int, tracklets: int = 3, *, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return frames, uint8 [N, 3, side, side], and pooling, float32 [T, N]."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (frames, 3, side, side), dtype=np.uint8)
    return pixels, random.uniform(size=(tracklets, frames)).astype(np.float32)


def greatest_difference(actual: Iterable[NDArray[np.float32]], expected: Iterable[NDArray[np.float32]]) -> float:
    """Return the greatest absolute difference of the outputs of a batch."""
    return max(float(np.abs(a - b).max()) for a, b in zip(actual, expected, strict=True))


def free_mib() -> float:
    """Return the GPU's free memory in MiB; 0 without one."""
    return torch.cuda.mem_get_info()[0] / 2**20 if torch.cuda.is_available() else 0.0
