"""Which part of the pipeline the others wait for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

__all__ = ["Stage", "Stages"]

Stage: TypeAlias = Literal["source", "decoding", "model", "results"]
"""What gives frames, what decodes and resizes them, the session, and what takes the embeddings."""


@dataclass(slots=True, eq=False)
class Stages:
    """How long a stream has waited for each of its stages.

    Attributes:
        waited_s: stage -> seconds in which batches moved on for nothing but that stage.
        frames: the number of frames that the session has embedded.
        positions: the number of positions in the batches that it ran, those of unreadable frames included.
        batches: the number of batches that it ran.
    """

    waited_s: dict[Stage, float] = field(default_factory=lambda: dict.fromkeys(get_args(Stage), 0.0))
    frames: int = 0
    positions: int = 0
    batches: int = 0

    @contextmanager
    def waiting_for(self, stage: Stage) -> Iterator[None]:
        """Count the time within as time in which a stage is waited for."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.waited_s[stage] += time.perf_counter() - start

    @property
    def limiting(self) -> Stage:
        """The stage that was waited for longest: only a faster one would make the stream faster."""
        return max(self.waited_s, key=self.waited_s.__getitem__)
