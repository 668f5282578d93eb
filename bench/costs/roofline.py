"""The time that a device takes for a graph at least (Williams et al., *Roofline*, Communications of the ACM 2009)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.bench.costs.record import GraphCost, LayerCost, Roofline
from reid.runtime.precision import Precision

__all__ = ["LayerTimes", "attainable_frames_per_s", "layer_times", "missing_precisions"]

_Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """What a device takes at least for each layer of a graph, in seconds a batch.

    Attributes:
        compute: float64 [layers], by its peak of operations in the layer's precision.
        memory: float64 [layers], by its bandwidth.
        vector: bool [layers], whether the layer computes in FP32, on other units than FP16 and INT8.
    """

    compute: _Times
    memory: _Times
    vector: NDArray[np.bool_]


def layer_times(cost: GraphCost, roofline: Roofline, batch: int) -> LayerTimes:
    """Return a device's least times for a batch: weights are read once, all else is done for every frame.

    Args:
        cost: the graph.
        roofline: the device's peaks, with every precision of the graph's products.
        batch: the number of frames.

    Raises:
        KeyError: a precision's peak is missing.
    """
    peaks = roofline.operations_per_s
    return LayerTimes(
        compute=_of(cost, lambda layer: batch * layer.flops / peaks[layer.precision] if layer.flops else 0),
        memory=_of(cost, lambda layer: (layer.weight_bytes + batch * layer.activation_bytes) / roofline.bytes_per_s),
        vector=_of(cost, lambda layer: layer.precision == "fp32").astype(np.bool_),
    )


def attainable_frames_per_s(cost: GraphCost, roofline: Roofline, batch: int) -> float | None:
    """Return the throughput that the peaks permit: each layer is limited by computing or by memory.

    It is an estimate of a bound. A subject may exceed it where caches serve what is counted as memory's traffic, where
    it fuses more than `reid.bench.costs.graph` assumes, or where its library reaches a higher peak than those that
    measured the peak.

    Args:
        cost: the graph.
        roofline: the device's peaks.
        batch: the number of frames.

    Returns:
        Frames per second; None where the peak of a precision is not known.
    """
    if missing_precisions(cost, roofline):
        return None
    times = layer_times(cost, roofline, batch)
    return batch / float(np.maximum(times.compute, times.memory).sum())


def missing_precisions(cost: GraphCost, roofline: Roofline) -> list[Precision]:
    """Return the precisions of a graph's products that a device's peak is not known for."""
    return sorted({layer.precision for layer in cost.layers if layer.flops} - set(roofline.operations_per_s))


def _of(cost: GraphCost, value: Callable[[LayerCost], float]) -> _Times:
    return np.array([value(layer) for layer in cost.layers], np.float64)
