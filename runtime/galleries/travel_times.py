"""How long vehicles take from camera to camera: what a track can be a continuation of."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeFloat, model_validator

from reid.runtime.errors import DataError
from reid.runtime.files.storage import atomic_write
from reid.runtime.files.validation import read_stored

__all__ = ["Sighting", "TravelTimes"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where and when a vehicle was seen.

    Attributes:
        camera: the camera.
        time_s: the time, in seconds on the clock of the gallery's entries.
    """

    camera: str
    time_s: float


@dataclass(frozen=True, slots=True, eq=False)
class TravelTimes:
    """The least and the most seconds from one camera to another; a pair that is not listed has no limits.

    The way back is a pair of its own, and so is a camera with itself: from one sighting there to the next.

    Attributes:
        limits: (from, to) -> the least and the most seconds, both included; the most may be infinite.
    """

    limits: Mapping[tuple[str, str], tuple[float, float]]

    def __post_init__(self) -> None:
        for (start, end), (least, most) in self.limits.items():
            if not 0 <= least <= most:  # as it is of NaN
                raise DataError(f"from {start} to {end}: {least} to {most} s; expected 0 <= least <= most")

    def windows(self, seen: Sighting, camera: str) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Return when a vehicle may have been seen by a camera: before and after, from when to when each.

        Args:
            seen: where and when it was seen, too.
            camera: the camera in question.

        Returns:
            The two windows, ends included; None where neither direction has limits.
        """
        here, there = self.limits.get((camera, seen.camera)), self.limits.get((seen.camera, camera))
        if here is None and there is None:
            return None
        before, after = here or (0.0, math.inf), there or (0.0, math.inf)
        return (seen.time_s - before[1], seen.time_s - before[0]), (seen.time_s + after[0], seen.time_s + after[1])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write them to a JSON file, whole or absent."""
        pairs = tuple(
            _Pair(start=start, end=end, least_s=least, most_s=None if math.isinf(most) else most)
            for (start, end), (least, most) in sorted(self.limits.items())
        )
        atomic_write(Path(path), _Stored(format_version=1, pairs=pairs).model_dump_json(indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TravelTimes:
        """Read them from a JSON file. Raises DataError where it cannot be used."""
        remedy = "make it with `reid-gallery learn-travel DATA --output FILE`"
        stored = read_stored(_Stored, Path(path), what="list of travel times", remedy=remedy, error=DataError)
        return cls({(p.start, p.end): (p.least_s, math.inf if p.most_s is None else p.most_s) for p in stored.pairs})


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Pair(_Record):
    start: str
    end: str
    least_s: NonNegativeFloat
    most_s: FiniteFloat | None = None

    @model_validator(mode="after")
    def _ordered(self) -> _Pair:
        if self.most_s is not None and self.most_s < self.least_s:
            raise ValueError(f"from {self.start} to {self.end}: at most {self.most_s} s, at least {self.least_s} s")
        return self


class _Stored(_Record):
    format_version: Literal[1]
    pairs: tuple[_Pair, ...]

    @model_validator(mode="after")
    def _unique(self) -> _Stored:
        if len({(pair.start, pair.end) for pair in self.pairs}) < len(self.pairs):
            raise ValueError("a pair of cameras that is there twice")
        return self
