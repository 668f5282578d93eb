"""Predictions and shares of a peak in words; every predicted number is called that."""

from __future__ import annotations

from collections.abc import Sequence

from reid.bench.costs.devices import Device, known_devices
from reid.bench.costs.efficiency import Error, published_sources
from reid.bench.costs.predict import Prediction

__all__ = ["above_the_peak", "how_well_predicted", "prediction_lines"]


def prediction_lines(device: Device, predictions: Sequence[Prediction]) -> list[str]:
    """Return what is predicted of a device, a line each; then what it rests on.

    Args:
        device: the device.
        predictions: its predictions.
    """
    peaks = ", ".join(f"{name.upper()} {peak:,g}" for name, peak in device.tera_operations_per_s.items())
    memory, power = f"{device.gigabytes_per_s:,g} GB/s", f"{device.watts:g} W"
    return [
        f"{device.title}: predicted from published peaks, not measured",
        *(_line(one) for one in predictions),
        f"peaks, in 10^12 operations/s: {peaks}; {memory}; {power} ({device.source})",
    ]


def how_well_predicted(errors: Sequence[Error]) -> list[str]:
    """Return how far predictions are from published figures, each device predicted from those with other chips."""
    devices = known_devices()
    lines = [f"{devices[one.figure.device].title}, {_named(one)}: {_percent(one.ratio)}" for one in errors]
    used = dict.fromkeys(one.figure.source for one in errors)
    return [
        "published time of a batch of ResNet-50, against the time predicted from devices with other chips:",
        *lines,
        *(f"source: {published_sources()[name]}" for name in used),
    ]


def above_the_peak(percent: float) -> str:
    """Return what a share of the peak above 100 % means; nothing for any other."""
    if percent <= 100:
        return ""
    return (
        f"{percent:.0f} % of the measured peaks: the count of bytes takes for memory's traffic what caches serve, "
        "a library may need fewer operations than a graph has, as Winograd's convolutions do, and a machine that was "
        "busy while its peaks were measured has higher ones"
    )


def _line(one: Prediction) -> str:
    low, value, high = one.frames_per_s
    unchecked = "" if one.checked else "; not checked on another device in this precision"
    return (
        f"{one.precision.upper()}, batches of {one.batch}: predicted {_short(one.value_ms)} ms "
        f"({_short(one.low_ms)} to {_short(one.high_ms)}), predicted {_short(value)} frames/s "
        f"({_short(low)} to {_short(high)}){unchecked}"
    )


def _short(value: float) -> str:
    """Return a number with three digits or all before the point: a prediction has no more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _named(error: Error) -> str:
    return f"{error.figure.precision.upper()}, batches of {error.figure.batch:,}"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.0f} %"
