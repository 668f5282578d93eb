"""A Progress that remembers what it was told."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Recorder", "Stage"]


@dataclass
class Stage:
    """A stage: its name, the number of steps that it announced, its unit, and the steps that were counted."""

    name: str
    total: int
    unit: str
    steps: list[int] = field(default_factory=list)

    @property
    def done(self) -> int:
        """The steps that were counted in all."""
        return sum(self.steps)


@dataclass
class Recorder:
    """A `Progress` with the stages so far."""

    stages: list[Stage] = field(default_factory=list)

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        self.stages.append(Stage(stage, total, unit))

    def advance(self, steps: int = 1) -> None:
        self.stages[-1].steps.append(steps)
