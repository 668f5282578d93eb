"""The range of each tensor for INT8: collected in one pass over the frames, then by four methods.

- max: the largest absolute value. Nothing is clipped, and one outlier makes all steps coarse.
- percentile: what 99.99 % of the values other than 0 do not exceed.
- entropy: loses least information, as TensorRT's calibrator has it (Migacz, 8-bit inference with TensorRT, GTC 2017).
- mse: makes the expected squared error of rounding and clipping least.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from reid.calibration.histogram import LEVELS, Histogram
from reid.calibration.intermediates import run_with_intermediates
from reid.runtime.errors import DataError, ModelError

__all__ = ["METHODS", "PERCENTILE", "Method", "TensorRange", "Threshold", "collect_histograms", "collect_ranges"]

Method: TypeAlias = Literal["max", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

PERCENTILE = 99.99

_ENTROPY_BINS = 2048
_ENTROPY_LEVELS = 128

_MSE_CANDIDATES = 2.0 ** -np.linspace(0, 10, 1281)
"""Of the peak: neighbors differ by 0.5 %, and the error is flat around its least."""

_LEAST_SCALE = float(np.finfo(np.float32).tiny)


class Threshold(BaseModel):
    """A symmetric range, and what it costs on the frames it was collected on.

    Attributes:
        value: values from -value to value are represented, others clipped; 0 where the tensor is 0 everywhere.
        clipped: share of the values other than 0 that lie outside.
        error: of INT8, the root of the mean squared error relative to that of the mean square.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float = Field(ge=0)
    clipped: float = Field(ge=0, le=1)
    error: float = Field(ge=0)


class TensorRange(BaseModel):
    """A tensor's values, seen from all calibration frames.

    Attributes:
        peak: largest absolute value.
        zeros: share of the values that are exactly 0.
        thresholds: by method.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    peak: float = Field(ge=0)
    zeros: float = Field(ge=0, le=1)
    thresholds: dict[Method, Threshold] = Field(min_length=len(METHODS))

    def scale(self, method: Method) -> float:
        """Give the step of INT8. A tensor that is 0 everywhere gets 1: a scale must be positive, and any will do."""
        step = self.thresholds[method].value / LEVELS
        return step if step >= _LEAST_SCALE else 1.0


def collect_ranges(
    graph: Path, batches: Iterable[NDArray[np.uint8]], tensors: Set[str] | None = None
) -> dict[str, TensorRange]:
    """Give the range of tensors by every method, in the order in which the graph makes them.

    Args:
        graph: of export_graph.
        batches: uint8 [n, 3, H, W] each, taken lazily. How the frames are batched makes no difference.
        tensors: names of those to look at; None for all float tensors that a node makes.

    Raises:
        DataError: there are no frames.
        ModelError: a value is NaN or infinite, or the graph makes no such tensor.
    """
    return {name: _range(histogram) for name, histogram in collect_histograms(graph, batches, tensors).items()}


def collect_histograms(
    graph: Path, batches: Iterable[NDArray[np.uint8]], tensors: Set[str] | None = None
) -> dict[str, Histogram]:
    """Give the histograms that ranges are made from; see collect_ranges."""
    histograms: dict[str, Histogram] = defaultdict(Histogram)
    seen = [0, 0]  # the frames before the current batch, and with it

    def counted() -> Iterator[NDArray[np.uint8]]:
        for batch in batches:
            seen[:] = seen[1], seen[1] + len(batch)
            yield batch

    for name, values in run_with_intermediates(graph, counted(), only=tensors):
        if not histograms[name].add(values):
            raise ModelError(
                f"{graph}: {name} is {'NaN' if np.isnan(values).any() else 'infinite'} within frames {seen[0] + 1} to "
                f"{seen[1]} of the calibration set; INT8 cannot mend the FP32 model: train or export it again"
            )
    if not histograms:
        raise DataError("no frames to calibrate on; select some of the training split")
    return dict(histograms)


def _range(histogram: Histogram) -> TensorRange:
    total = histogram.zeros + int(histogram.counts.sum())
    values = {method: _threshold(histogram, method) for method in METHODS}
    errors = histogram.squared_errors(np.array(list(values.values()))) if histogram.peak else np.zeros(len(METHODS))
    thresholds = {
        method: Threshold(value=value, clipped=histogram.share_above(value), error=float(np.sqrt(error)))
        for (method, value), error in zip(values.items(), errors, strict=True)
    }
    return TensorRange(peak=histogram.peak, zeros=histogram.zeros / total, thresholds=thresholds)


def _threshold(histogram: Histogram, method: Method) -> float:
    if histogram.peak == 0 or method == "max":
        return histogram.peak
    return min({"percentile": _percentile, "entropy": _entropy, "mse": _mse}[method](histogram), histogram.peak)


def _percentile(histogram: Histogram) -> float:
    below = np.cumsum(histogram.counts)
    return float(np.searchsorted(below, PERCENTILE / 100 * below[-1]) + 1) * histogram.width


def _mse(histogram: Histogram) -> float:
    candidates = histogram.peak * _MSE_CANDIDATES
    return float(candidates[histogram.squared_errors(candidates).argmin()])


def _entropy(histogram: Histogram) -> float:
    """Find where clipping loses least: the range whose 128 levels diverge least from all the values."""
    merged = -(-histogram.used // _ENTROPY_BINS)
    counts = np.add.reduceat(histogram.counts[: histogram.used], np.arange(0, histogram.used, merged)).astype(float)
    if len(counts) <= _ENTROPY_LEVELS:
        return histogram.peak
    kept = range(_ENTROPY_LEVELS, len(counts) + 1)
    best = kept[int(np.argmin([_divergence(counts, bins) for bins in kept]))]
    return best * merged * histogram.width


def _divergence(counts: NDArray[np.float64], kept: int) -> float:
    """Give KL(P || Q): P has what lies beyond the bins kept in the last of them, Q has it not and is quantized.

    Where only P has something, Q is given half a value: a far outlier would else forbid every range but its own.
    """
    reference = counts[:kept].copy()
    reference[-1] += counts[kept:].sum()
    filled = reference > 0
    starts = np.arange(_ENTROPY_LEVELS) * kept // _ENTROPY_LEVELS
    sums = np.add.reduceat(counts[:kept], starts)
    if not sums.any():
        return np.inf
    shared_by = np.add.reduceat(filled.astype(float), starts)
    quantized = np.repeat(sums / np.maximum(shared_by, 1), np.diff(starts, append=kept))
    p, q = reference[filled], np.maximum(quantized[filled], 0.5)
    return float((p * np.log((p / p.sum()) / (q / q.sum()))).sum() / p.sum())
