"""How far each layer's tensor is from what it should be, over frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.verification.drift import first_drift
from reid.evaluation.verification.graph_layers import Layer
from reid.evaluation.verification.records import LayerDrift
from reid.runtime.errors import ModelError

__all__ = ["MOST_LAYERS", "TensorError", "largest_drift", "layer_errors"]

MOST_LAYERS = 20
"""The most layers of a report."""


@dataclass(slots=True)
class TensorError:
    """Sums over frames of one tensor and of its error.

    Attributes:
        not_finite: the number of values that are infinite or NaN where they should not be; their error counts as 0.
        largest: the largest absolute error.
        peak: the largest absolute value that the tensor should have.
    """

    not_finite: int = 0
    largest: float = 0.0
    peak: float = 0.0
    _squared_error: float = 0.0
    _squared: float = 0.0

    def add(self, expected: NDArray[np.float32], actual: NDArray[np.float32]) -> None:
        """Add what a tensor should be, and is, for one frame more; values that should not be finite are left out."""
        comparable = np.isfinite(expected)
        expected, actual = expected[comparable], actual[comparable]
        finite = np.isfinite(actual)
        self.not_finite += int(actual.size - np.count_nonzero(finite))
        difference = np.where(finite, actual, 0).astype(np.float64) - expected
        self._squared_error += float(np.vdot(difference, difference))
        self._squared += float(np.square(expected, dtype=np.float64).sum())
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0)))
        self.peak = max(self.peak, float(np.abs(expected).max(initial=0)))

    @property
    def relative(self) -> float:
        """The root mean square of the error over that of the tensor, or itself where that is zero everywhere."""
        return float((self._squared_error / (self._squared or 1.0)) ** 0.5)


def layer_errors(
    pairs: Sequence[tuple[Layer, Layer]],
    expected: Iterable[Mapping[str, NDArray[np.float32]]],
    actual: Iterable[Mapping[str, NDArray[np.float32]]],
) -> list[LayerDrift]:
    """Compare layers frame by frame.

    Args:
        pairs: the layers to compare: (what it should be, what it is).
        expected: tensor -> values of the first ones, for one frame after the other.
        actual: the same for the second ones.

    Raises:
        ModelError: two tensors differ in shape.
    """
    errors = {layer.name: TensorError() for layer, _ in pairs}
    for before, after in zip(expected, actual, strict=True):
        for layer, other in pairs:
            values, found = before[layer.tensor], after[other.tensor]
            if values.shape != found.shape:
                raise ModelError(
                    f"{layer.name} gives {list(found.shape)} where it should give {list(values.shape)}: they are "
                    "graphs of different models"
                )
            errors[layer.name].add(values, found)
    return [_drift(layer, errors[layer.name]) for layer, _ in pairs]


def _drift(layer: Layer, error: TensorError) -> LayerDrift:
    return LayerDrift(
        layer=layer.name,
        op=layer.op,
        position=layer.position,
        relative_error=error.relative,
        largest_error=error.largest,
        peak=error.peak,
        not_finite=error.not_finite,
        weight=layer.weight,
    )


def largest_drift(drift: Sequence[LayerDrift], threshold: float, most: int = MOST_LAYERS) -> tuple[LayerDrift, ...]:
    """Return the layers with values that are not finite, then those with the largest errors.

    The layer of `first_drift` is always among them, as the last one where others have larger errors.

    Args:
        drift: all layers that were compared.
        threshold: the relative error above which a layer has drifted.
        most: the most layers to return, at least 1.
    """
    ordered = sorted(drift, key=lambda layer: (not layer.not_finite, -layer.relative_error, layer.position))
    shown, first = ordered[:most], first_drift(ordered, threshold)
    return tuple(shown if first is None or first in shown else [*shown[:-1], first])
