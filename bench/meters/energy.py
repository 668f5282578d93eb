"""What all energy meters have in common."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

__all__ = ["EnergyCounter", "Part", "PowerGauge"]

Part: TypeAlias = Literal["cpu", "gpu", "module"]
"""Whose energy it is: the processor's with its memory, the GPU's, or a whole Jetson module's."""


class EnergyCounter(Protocol):
    """A device that counts its energy itself."""

    @property
    def part(self) -> Part:
        """Whose energy it counts."""

    @property
    def source(self) -> str:
        """What it reads, for people."""

    def read(self) -> tuple[int, ...] | None:
        """Return what the counters show, or None where they do not answer."""

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """Return the energy between two readings."""


class PowerGauge(Protocol):
    """A device that only shows the power of this moment."""

    @property
    def part(self) -> Part:
        """Whose power it shows."""

    @property
    def source(self) -> str:
        """What it reads, for people."""

    def watts(self) -> float | None:
        """Return the power of this moment, or None where it does not answer."""
