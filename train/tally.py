"""What an epoch has added up, at any of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """Sums over the steps of an epoch that are done, stored with a run's state and continued on resume.

    Attributes:
        steps: that are done and counted here.
        sums: of each value that a step gives.
        unreadable: images that another stood in for, in the order in which they were met.
        seconds: that the steps took, with what they waited for.
        waiting_seconds: of these, for the next batch.
        decoding_seconds: of all loader workers together.
    """

    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    seconds: float = 0.0
    waiting_seconds: float = 0.0
    decoding_seconds: float = 0.0

    def add(self, values: Mapping[str, float], *, of: int) -> None:
        """Count a step, one `of` as many."""
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value / of

    def speeds(self, *, frames: int, workers: int) -> dict[str, float]:
        """Give the epoch's seconds, and its speeds in images/s: as it went, of the loader alone, of the steps alone.

        Args:
            frames: of the epoch, of all processes, which are taken to be alike.
            workers: of each process's loader.
        """
        return {
            "seconds": self.seconds,
            "waiting_seconds": self.waiting_seconds,
            "images_per_second": frames / max(self.seconds, 1e-9),
            "loader_images_per_second": frames * workers / max(self.decoding_seconds, 1e-9),
            "step_images_per_second": frames / max(self.seconds - self.waiting_seconds, 1e-9),
        }

    def as_json(self) -> dict[str, Any]:
        """Give what `Tally(**..)` makes the same of."""
        return {name: getattr(self, name) for name in self.__slots__}
