"""How much of their peaks devices reach: learnt from published speeds of ResNet-50, checked by leaving devices out."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import Field

from reid.bench.costs.devices import known_devices
from reid.bench.costs.resnet50 import resnet50_cost
from reid.bench.costs.roofline import LayerTimes, layer_times
from reid.bench.records import Positive, Record
from reid.runtime.precision import Precision

__all__ = [
    "Efficiency",
    "Error",
    "Figure",
    "learn",
    "learnt",
    "leave_one_out",
    "published_figures",
    "published_sources",
]

_FILE = Path(__file__).with_name("published.json")

_FIRST_STEP, _LAST_STEP = 0.5, 1e-3
"""Steps of the search, in logarithms."""


class Figure(Record):
    """A published speed of ResNet-50 at 224 x 224 pixels with TensorRT.

    Attributes:
        device: the name of a known device.
        precision: the precision.
        batch: the batch size.
        batch_ms: the time of a batch; None where the throughput is published.
        frames_per_s: the throughput; None where the time is published.
        source: the key of its source.
        what: the system and the scenario.
    """

    device: str
    precision: Precision
    batch: int = Field(ge=1)
    batch_ms: Positive | None = None
    frames_per_s: Positive | None = None
    source: str
    what: str

    @property
    def seconds(self) -> float:
        """The time of a batch."""
        return self.batch_ms / 1e3 if self.batch_ms else self.batch / (self.frames_per_s or math.inf)


class _Published(Record):
    sources: dict[str, str]
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What devices reach.

    Memory has no efficiency of its own: that counted bytes partly stay in caches makes up for what of its bandwidth
    cannot be used.

    Attributes:
        matrix: the share of the peak that layers in FP16 and INT8 reach.
        vector: the share of the peak that layers in FP32 reach.
        launch_s: what a layer takes besides, in seconds.
    """

    matrix: float = 0.5
    vector: float = 0.8
    launch_s: float = 5e-6

    def seconds(self, times: LayerTimes) -> float:
        """Return the time of a batch."""
        share = np.where(times.vector, self.vector, self.matrix)
        return float(np.maximum(times.compute / share, times.memory).sum()) + len(share) * self.launch_s


@dataclass(frozen=True, slots=True)
class Error:
    """A published figure, predicted from the figures of all devices with other chips.

    Attributes:
        figure: the figure.
        seconds: the prediction for a batch.
    """

    figure: Figure
    seconds: float

    @property
    def ratio(self) -> float:
        """The published time, relative to the predicted one."""
        return self.figure.seconds / self.seconds


def published_figures() -> tuple[Figure, ...]:
    """Return the published figures."""
    return _published().figures


def published_sources() -> dict[str, str]:
    """Return the sources of the published figures, by key."""
    return _published().sources


def learn(figures: Sequence[Figure]) -> Efficiency:
    """Return the efficiency with the least squares of the logarithms of measured over predicted times.

    Args:
        figures: what to learn from; without figures in FP32, its share stays at the default.
    """
    measured = [(figure.seconds, _times(figure)) for figure in figures]

    def loss(efficiency: Efficiency) -> float:
        return sum(math.log(seconds / efficiency.seconds(times)) ** 2 for seconds, times in measured)

    best, step = Efficiency(), _FIRST_STEP
    least = loss(best)
    while step > _LAST_STEP:
        near = min(_neighbors(best, step), key=loss)
        if loss(near) < least:
            best, least = near, loss(near)
        else:
            step /= 2
    return best


@functools.cache
def learnt() -> Efficiency:
    """Return the efficiency that all published figures teach."""
    return learn(published_figures())


@functools.cache
def leave_one_out() -> tuple[Error, ...]:
    """Predict each device's figures from those of devices with other chips; figures in FP32 only if these have some."""
    return tuple(error for name in known_devices() for error in _errors_of(name))


@functools.cache
def _published() -> _Published:
    return _Published.model_validate_json(_FILE.read_bytes())


def _errors_of(device: str) -> list[Error]:
    devices = known_devices()
    others = [one for one in published_figures() if devices[one.device].chip != devices[device].chip]
    known = {_vector(figure) for figure in others}
    own = [one for one in published_figures() if one.device == device and _vector(one) in known]
    efficiency = learn(others) if own else Efficiency()
    return [Error(figure, efficiency.seconds(_times(figure))) for figure in own]


def _neighbors(efficiency: Efficiency, step: float) -> list[Efficiency]:
    names = ("matrix", "vector", "launch_s")
    factors = (math.exp(step), math.exp(-step))
    return [replace(efficiency, **{name: factor * getattr(efficiency, name)}) for name in names for factor in factors]


def _vector(figure: Figure) -> bool:
    return figure.precision == "fp32"


@functools.cache
def _times(figure: Figure) -> LayerTimes:
    return layer_times(resnet50_cost(figure.precision), known_devices()[figure.device].roofline, figure.batch)
