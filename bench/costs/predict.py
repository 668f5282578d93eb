"""The speed of a graph on a device that is not here, as a range: predicted, never measured."""

from __future__ import annotations

from reid.bench.costs.devices import Device
from reid.bench.costs.efficiency import learnt, leave_one_out
from reid.bench.costs.record import GraphCost
from reid.bench.costs.roofline import layer_times, missing_precisions
from reid.bench.records import Positive, Record
from reid.runtime.errors import ReidError
from reid.runtime.precision import Precision

__all__ = ["Prediction", "predict"]


class Prediction(Record):
    """A predicted speed.

    Attributes:
        device: the device's name.
        precision: the graph's precision.
        batch: the batch size, in frames.
        low_ms: the least time of a batch.
        value_ms: the time of a batch.
        high_ms: the longest time of a batch.
        checked: whether the range was checked on another device's units of this precision.
    """

    device: str
    precision: Precision
    batch: int
    low_ms: Positive
    value_ms: Positive
    high_ms: Positive
    checked: bool

    @property
    def frames_per_s(self) -> tuple[float, float, float]:
        """The throughput: low, value and high."""
        frames = 1e3 * self.batch
        return frames / self.high_ms, frames / self.value_ms, frames / self.low_ms


def predict(cost: GraphCost, device: Device, precision: Precision, batch: int) -> Prediction:
    """Predict the time of a batch with a TensorRT engine.

    A layer takes what its operations take at the share of the device's peak that published engines of ResNet-50 reach,
    or what its bytes take at the memory's bandwidth, whichever is longer, and a constant time besides. The range is as
    wide as the errors are when each of the published devices is predicted from those with other chips: it would have
    held them all.

    Args:
        cost: what the graph of that precision costs.
        device: the device.
        precision: the graph's precision.
        batch: the batch size, in frames.

    Raises:
        ReidError: no peak of the device is published for a precision of the graph's layers.
    """
    _check_peaks(cost, device)
    value = 1e3 * learnt().seconds(layer_times(cost, device.roofline, batch))
    ratios = [error.ratio for error in leave_one_out()]
    checked = {error.figure.precision for error in leave_one_out()}
    return Prediction(
        device=device.name,
        precision=precision,
        batch=batch,
        low_ms=value * min(ratios),
        value_ms=value,
        high_ms=value * max(ratios),
        checked=precision in checked,
    )


def _check_peaks(cost: GraphCost, device: Device) -> None:
    missing = missing_precisions(cost, device.roofline)
    if missing:
        published = ", ".join(device.tera_operations_per_s)
        raise ReidError(f"no peak of {device.title} in {missing[0]} is published; predict one of these: {published}")
