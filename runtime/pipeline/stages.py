"""Which part of the pipeline the others wait for, and how long each part works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from reid.runtime.sessions.clocks import BatchSeconds

__all__ = ["Stage", "Stages", "Step"]

Stage: TypeAlias = Literal["source", "decoding", "model", "results"]
"""What gives frames, what decodes and resizes them, the session, and what takes the embeddings."""

Step: TypeAlias = Literal["decode", "upload", "resize", "engine", "download"]
"""What is done with frames: those of BatchSeconds; "decode" is also what gives pixels on the CPU: it reads and decodes
files."""


@dataclass(slots=True, eq=False)
class Stages:
    """How long a stream has waited for each of its stages, and how long each step of its work has taken.

    Attributes:
        waited_s: stage -> seconds in which batches moved on for nothing but that stage.
        busy_s: step -> seconds that it took, summed over batches and threads: steps that overlap count in full. A step
            that did not happen, or that the session has no clock for, is missing.
        frames: the number of frames that the session has embedded.
        positions: the number of positions in the batches that it ran, those of unreadable frames included.
        batches: the number of batches that it ran.
    """

    waited_s: dict[Stage, float] = field(default_factory=lambda: dict.fromkeys(get_args(Stage), 0.0))
    busy_s: dict[Step, float] = field(default_factory=dict)
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

    def took(self, step: Step, seconds: float | None) -> None:
        """Count the time that a step took; None where that is not known."""
        if seconds is not None:
            self.busy_s[step] = self.busy_s.get(step, 0.0) + seconds

    def took_batch(self, seconds: BatchSeconds) -> None:
        """Count the time that a batch took."""
        self.took("decode", seconds.decode_s)
        self.took("upload", seconds.upload_s)
        self.took("resize", seconds.resize_s)
        self.took("engine", seconds.engine_s)
        self.took("download", seconds.download_s)

    @property
    def limiting(self) -> Stage:
        """The stage that was waited for longest: only a faster one would make the stream faster."""
        return max(self.waited_s, key=self.waited_s.__getitem__)
