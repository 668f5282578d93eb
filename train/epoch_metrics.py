"""The sums and times accumulated over an epoch's steps so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EpochMetrics"]

_Seconds: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EpochMetrics(BaseModel):
    """Sums over the finished steps of an epoch, stored with a run's state and continued on resume.

    Attributes:
        steps: number of steps that are finished and counted here.
        sums: for each of a step's values, by name, its sum so far divided by the number of steps in the epoch; at the
            end, the mean.
        unreadable: images that could not be read, each replaced by another one of its vehicle, in the order in which
            they were met.
        seconds: time that the steps took, including waiting.
        waiting_seconds: part of that time spent waiting for the next batch.
        decoding_seconds: time that all loader workers together spent decoding.
    """

    model_config = ConfigDict(extra="forbid")

    steps: int = Field(default=0, ge=0, le=2**31 - 1)
    sums: dict[str, float] = {}
    unreadable: list[str] = []
    seconds: _Seconds = 0.0
    waiting_seconds: _Seconds = 0.0
    decoding_seconds: _Seconds = 0.0

    def add(self, values: Mapping[str, float], *, of: int) -> None:
        """Count a step.

        Args:
            values: the step's values by name.
            of: number of steps in the epoch.
        """
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value / of

    def speeds(self, *, frames: int, workers: int) -> dict[str, float]:
        """Return the epoch's seconds and its speeds in images/s: overall, of the loader alone, of the steps alone.

        Args:
            frames: number of frames in the epoch over all processes, which are assumed to be equally fast.
            workers: number of workers of each process's loader.
        """
        return {
            "seconds": self.seconds,
            "waiting_seconds": self.waiting_seconds,
            "images_per_second": frames / max(self.seconds, 1e-9),
            "loader_images_per_second": frames * workers / max(self.decoding_seconds, 1e-9),
            "step_images_per_second": frames / max(self.seconds - self.waiting_seconds, 1e-9),
        }
