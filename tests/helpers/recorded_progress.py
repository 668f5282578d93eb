"""A `Progress` that remembers what it was told."""

from __future__ import annotations


class RecordedProgress:
    """Collects the stages as (name, total, unit), and for each the steps that were counted, one entry per call."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, str]] = []
        self.steps: list[list[int]] = []

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        self.stages.append((stage, total, unit))
        self.steps.append([])

    def advance(self, steps: int = 1) -> None:
        self.steps[-1].append(steps)
