"""Running sums of what is measured of tracklets, from which mean, deviation and likeness to neighbors follow."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Measured", "Sums"]

_LEAST_SHARE = 0.1
"""However alike neighbors are, no more than ten of them count as one."""


class Measured(BaseModel):
    """One quantity of a camera's tracklets.

    Attributes:
        count: the number of tracklets.
        mean: their mean.
        deviation: their standard deviation.
        independent: the number of independent tracklets that would tell as much about the mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    count: int = Field(ge=2)
    mean: float = Field(ge=-1e6, le=1e6)
    deviation: float = Field(ge=0, le=1e6)
    independent: float = Field(ge=1)

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return self.deviation / math.sqrt(self.independent)


@dataclass(slots=True)
class Sums:
    """Sums over values that come one after another; memory does not grow with their number."""

    count: int = 0
    _total: float = 0.0
    _squares: float = 0.0
    _neighbors: float = 0.0
    _last: float = 0.0

    def add(self, value: float) -> None:
        """Take in what was measured of a tracklet."""
        if self.count:
            self._neighbors += value * self._last
        self.count += 1
        self._total += value
        self._squares += value * value
        self._last = value

    def measured(self) -> Measured | None:
        """Return what the values have in common; None for fewer than two.

        Folders list the loose images of a vehicle one after another, and these are alike, so their number says too
        much. How alike neighbors are tells by how much: with a correlation r of neighbors, n values tell about their
        mean what n (1 - r) / (1 + r) independent ones do, as in an autoregressive process of first order.
        """
        if self.count < 2:
            return None
        mean = self._total / self.count
        variance = max(0.0, self._squares - self.count * mean * mean) / (self.count - 1)
        shared = self._neighbors / (self.count - 1) - mean * mean
        correlation = min(max(shared / variance, 0.0), 1.0) if variance else 0.0
        share = max((1 - correlation) / (1 + correlation), _LEAST_SHARE)
        return Measured(
            count=self.count, mean=mean, deviation=math.sqrt(variance), independent=max(1.0, self.count * share)
        )
