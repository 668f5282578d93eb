"""Laps: how long a step of a batch takes on a stream of the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reid.runtime.cuda import Cuda, Stream

__all__ = ["Lap"]


class Lap:
    """Two events around a step. Nothing waits for the time between them, and neither is part of a CUDA graph.

    An event that keeps time costs a stream some microseconds.

    Attributes:
        ended: happens when the step is done.
    """

    def __init__(self, cuda: Cuda, *, is_timed: bool = True) -> None:
        """Create the events; only the last one where nobody will ask for the time."""
        self.ended = cuda.event()
        self._began = cuda.event() if is_timed else None

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        """Take what is put on a stream within as the step; where that fails, `ended` stays as it was."""
        if self._began:
            self._began.record(stream)
        yield
        self.ended.record(stream)

    def seconds(self) -> float:
        """Return how long the step took, once `ended` has happened."""
        assert self._began
        return self.ended.milliseconds_since(self._began) / 1000

    def free(self) -> None:
        """Destroy the events."""
        for event in (self._began, self.ended):
            if event:
                event.free()
