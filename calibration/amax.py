"""The amax of each tensor, where its INT8 range ends: collected in one pass over the frames, chosen by four methods.

- max: the largest absolute value. Nothing is clipped, and a single outlier makes the scale coarse.
- percentile: the value that 99.99 % of the nonzero values do not exceed.
- entropy: the value that loses the least information, as in TensorRT's calibrator (Migacz, 8-bit inference with
  TensorRT, GTC 2017).
- mse: the value that minimizes the expected squared error of rounding and clipping.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from reid.calibration.histogram import Histogram
from reid.calibration.intermediates import run_with_intermediates
from reid.runtime.errors import DataError, ModelError

__all__ = ["METHODS", "PERCENTILE", "Amax", "Method", "TensorAmax", "collect_amax", "collect_histograms"]

Method: TypeAlias = Literal["max", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

PERCENTILE = 99.99

_FLOAT32_MAX = float(np.finfo(np.float32).max)

_ENTROPY_BINS = 2048
_ENTROPY_LEVELS = 128
_ROUNDING = 1e-12
"""Divergences that differ by less are equal but for rounding."""

_MSE_CANDIDATES = 2.0 ** -np.linspace(0, 10, 1281)
"""Fractions of the largest value: neighbors differ by 0.5 %, and the error is flat around its minimum."""


class Amax(BaseModel):
    """Where a symmetric range ends, and what that costs on the frames that it was collected on.

    Attributes:
        value: the end of the range: values from -value to value are represented, others clipped. It is 0 for a tensor
            that is 0 everywhere.
        clipped: the fraction of the nonzero values outside the range.
        error: the root mean square error of INT8, relative to the tensor's root mean square.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float = Field(ge=0, le=_FLOAT32_MAX)
    clipped: float = Field(ge=0, le=1)
    error: float = Field(ge=0)


class TensorAmax(BaseModel):
    """A tensor's values over all calibration frames.

    Attributes:
        largest: the largest absolute value.
        zeros: the fraction of the values that are exactly 0.
        by_method: the amax that each method chooses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # `peak` and `thresholds` are the names of before, by which a measurement's digest still goes.
    largest: float = Field(
        ge=0, le=_FLOAT32_MAX, validation_alias=AliasChoices("largest", "peak"), serialization_alias="peak"
    )
    zeros: float = Field(ge=0, le=1)
    by_method: dict[Method, Amax] = Field(
        min_length=len(METHODS),
        validation_alias=AliasChoices("by_method", "thresholds"),
        serialization_alias="thresholds",
    )


def collect_amax(
    graph: Path, batches: Iterable[NDArray[np.uint8]], tensors: Set[str] | None = None
) -> dict[str, TensorAmax]:
    """Return the amax of tensors by every method, in the order in which the graph computes them.

    Args:
        graph: a graph that export_graph wrote.
        batches: the frames, uint8 [n, 3, H, W] each, read lazily. How they are batched makes no difference.
        tensors: the names of the tensors to measure; None for every float tensor that a node computes.

    Raises:
        DataError: there are no frames.
        ModelError: a value is NaN or infinite, or the graph computes no such tensor.
    """
    return {name: _by_every_method(found) for name, found in collect_histograms(graph, batches, tensors).items()}


def collect_histograms(
    graph: Path, batches: Iterable[NDArray[np.uint8]], tensors: Set[str] | None = None
) -> dict[str, Histogram]:
    """Return the histograms that amax is chosen by; see collect_amax."""
    histograms: dict[str, Histogram] = defaultdict(Histogram)
    seen = [0, 0]  # the number of frames before the current batch, and including it

    def counted() -> Iterator[NDArray[np.uint8]]:
        for batch in batches:
            seen[:] = seen[1], seen[1] + len(batch)
            yield batch

    for name, values in run_with_intermediates(graph, counted(), only=tensors):
        if not histograms[name].add(values):
            raise ModelError(
                f"{graph}: {name} is {'NaN' if np.isnan(values).any() else 'infinite'} within frames {seen[0] + 1} to "
                f"{seen[1]} of the calibration set; INT8 cannot repair the FP32 model: train or export it again"
            )
    if not histograms:
        raise DataError("no frames to calibrate on; select some from the training split")
    return dict(histograms)


def _by_every_method(histogram: Histogram) -> TensorAmax:
    total = histogram.zeros + int(histogram.counts.sum())
    values = {method: _choose(histogram, method) for method in METHODS}
    errors = histogram.squared_errors(np.array(list(values.values()))) if histogram.amax else np.zeros(len(METHODS))
    by_method = {
        method: Amax(value=value, clipped=histogram.fraction_above(value), error=float(np.sqrt(error)))
        for (method, value), error in zip(values.items(), errors, strict=True)
    }
    return TensorAmax(largest=histogram.amax, zeros=histogram.zeros / total, by_method=by_method)


def _choose(histogram: Histogram, method: Method) -> float:
    if histogram.amax == 0 or method == "max":
        return histogram.amax
    return min({"percentile": _percentile, "entropy": _entropy, "mse": _mse}[method](histogram), histogram.amax)


def _percentile(histogram: Histogram) -> float:
    below = np.cumsum(histogram.counts)
    return float(np.searchsorted(below, PERCENTILE / 100 * below[-1]) + 1) * histogram.width


def _mse(histogram: Histogram) -> float:
    candidates = histogram.amax * _MSE_CANDIDATES
    return float(candidates[histogram.squared_errors(candidates).argmin()])


def _entropy(histogram: Histogram) -> float:
    """Find where clipping loses the least: the range whose 128 levels diverge least from all the values."""
    merged = -(-histogram.used // _ENTROPY_BINS)
    counts = np.add.reduceat(histogram.counts[: histogram.used], np.arange(0, histogram.used, merged)).astype(float)
    if len(counts) <= _ENTROPY_LEVELS:
        return histogram.amax
    divergences = _divergences(counts)
    least = np.flatnonzero(divergences <= divergences.min() + _ROUNDING)[0]  # of equal ones, the smallest range
    return (_ENTROPY_LEVELS + int(least)) * merged * histogram.width


def _divergences(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return KL(P || Q) for ranges of the first bins: 128 of them, 129, and so on.

    P counts everything beyond the range in its last bin; Q leaves that out and is quantized. Where only P has a count,
    Q is given half a value: otherwise a distant outlier would rule out every range but its own.

    With the totals p and q, KL(P || Q) = (sum of P log P - sum of P log Q) / p - log p + log q, and Q is constant in
    each of the levels: so sums over levels, of all ranges at once, stand for those over bins.
    """
    bins = np.arange(_ENTROPY_LEVELS, len(counts) + 1)
    edges = np.arange(_ENTROPY_LEVELS + 1) * bins[:, None] // _ENTROPY_LEVELS
    below = np.concatenate(([0.0], np.cumsum(counts)))  # of whole numbers: exact
    filled_below = np.concatenate(([0], np.cumsum(counts > 0)))
    total, beyond = below[-1], below[-1] - below[bins]
    last = counts[bins - 1]
    sums, shared_by = np.diff(below[edges]), np.diff(filled_below[edges])
    shared_by[:, -1] += (beyond > 0) & (last == 0)
    q = np.maximum(sums / np.maximum(shared_by, 1), 0.5)
    p_log_p = np.cumsum(_times_log(counts))[bins - 1] - _times_log(last) + _times_log(last + beyond)
    p_log_q = (sums * np.log(q)).sum(axis=1) + beyond * np.log(q[:, -1])
    found = (p_log_p - p_log_q) / total - np.log(total) + np.log((shared_by * q).sum(axis=1))
    return np.where(sums.any(axis=1), found, np.inf)


def _times_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x log x, which is 0 for 0."""
    return values * np.log(np.maximum(values, 1))
