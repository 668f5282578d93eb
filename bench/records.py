"""The base of what a benchmark stores."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Count", "Disturbance", "Estimate", "NotNegative", "Percentiles", "Positive", "Record"]

NotNegative: TypeAlias = Annotated[float, Field(ge=0)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Count: TypeAlias = Annotated[int, Field(ge=0)]

Disturbance: TypeAlias = Literal["busy_neighbor", "stolen", "throttled"]
"""Why a turn says little: other processes took CPU time, a hypervisor did, or the device lowered its clocks."""


class Record(BaseModel):
    """A stored fact: immutable, without unknown fields, without NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(Record):
    """A measured figure, in the unit that the field's name ends with.

    Attributes:
        value: the figure.
        low: the lower end of the 99 % interval for what another run of the same command on this machine would find.
        high: its upper end.
    """

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Estimate:
        """Return the figure in another unit, or relative to something that is known exactly."""
        return Estimate(value=factor * self.value, low=factor * self.low, high=factor * self.high)


class Percentiles(Record):
    """The distribution of a latency, in the unit that the field's name ends with; no outlier is left out."""

    p50: Estimate
    p90: Estimate
    p99: Estimate
