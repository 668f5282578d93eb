"""Smaller batches where the memory of a device does not suffice for the whole one."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import DeviceMemoryError
from reid.runtime.sessions.host import Infer

__all__ = ["Halving", "reserve"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


def reserve(
    most: int, allocate: Callable[[int, contextlib.ExitStack], _T], resources: contextlib.ExitStack
) -> tuple[_T, int]:
    """Allocate memory for the largest batch that finds room, with half as many frames each time that it does not.

    Args:
        most: the frames to begin with.
        allocate: allocates memory for batches of so many frames, and has it freed by the stack that it is given.
        resources: frees the memory in the end.

    Returns:
        What was allocated, and the frames.

    Raises:
        DeviceMemoryError: not even batches of one frame find room.
    """
    while True:
        with contextlib.ExitStack() as tried:
            try:
                found = allocate(most, tried)
            except DeviceMemoryError:
                if most == 1:
                    raise
            else:
                resources.push(tried.pop_all())
                return found, most
        # Outside the handler, because the error keeps what was allocated alive.
        logger.warning("out of memory for batches of %d frames: they have at most %d", most, most // 2)
        most //= 2


@dataclass(slots=True, eq=False)
class Halving:
    """A function from a batch to its embeddings that halves the frames computed at a time where memory runs out.

    Pooling is linear, so a batch's `pooled` is the sum of those of its parts.

    Attributes:
        infer: the function; it raises DeviceMemoryError where a batch is too large.
        most: the frames at a time that fit, as far as is known.
    """

    infer: Infer
    most: int

    def __call__(
        self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed a batch. Raises DeviceMemoryError where not even one frame fits, and whatever the function raises."""
        while True:
            try:
                return self._in_parts(frames, pooling)
            except DeviceMemoryError:
                size = min(self.most, len(frames))
                if size <= 1:
                    raise
                self.most = size // 2
            # Outside the handler, because the error keeps the arrays of the failed attempt alive.
            logger.warning("out of memory with %d frames at a time: going on with %d", size, self.most)

    def _in_parts(
        self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if len(frames) <= self.most:
            return self.infer(frames, pooling)
        parts = [
            self.infer(frames[first : first + self.most], np.ascontiguousarray(pooling[:, first : first + self.most]))
            for first in range(0, len(frames), self.most)
        ]
        frame_embedding, pooled = zip(*parts, strict=True)
        return np.concatenate(frame_embedding), np.sum(pooled, axis=0)
