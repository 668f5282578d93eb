"""Where two graphs of one model diverge: their tensors compared layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from reid.calibration.graph_file import load_graph
from reid.calibration.intermediates import float_tensors, run_with_intermediates
from reid.evaluation.verification.drift import first_drift
from reid.evaluation.verification.records import LayerDrift
from reid.runtime.errors import ModelError

__all__ = ["drifted_layers"]


def drifted_layers(
    reference_graph: Path, candidate_graph: Path, frames: NDArray[np.uint8], *, most: int = 20
) -> tuple[LayerDrift, ...]:
    """Run both graphs with ONNX Runtime on the CPU and compare the outputs of corresponding layers.

    Layers correspond by name and operator; a node of one graph only, such as a cast or a Q/DQ pair, is left out. One
    frame runs at a time, so that no more than one frame's tensors are in memory.

    Args:
        reference_graph: the FP32 graph.
        candidate_graph: a graph made from it.
        frames: the frames to run, uint8 [n, 3, H, W], resized as the card says.
        most: the most layers to return, at least 1.

    Returns:
        The layers with values that are not finite, then the others by relative error, largest first. The layer of
        `first_drift` is always among them, as the last one where others have larger errors.

    Raises:
        ModelError: a graph is absent or damaged, or the two are not graphs of one model.
    """
    reference, candidate = _layers(reference_graph), _layers(candidate_graph)
    shared = [name for name, layer in reference.items() if name in candidate and layer.op == candidate[name].op]
    if not shared:
        raise ModelError(
            f"{candidate_graph} shares no layer with {reference_graph.name}: they are graphs of different models"
        )
    errors = {name: _Error() for name in shared}
    streams = (
        _frame_by_frame(graph, {layers[name].tensor: name for name in shared}, frames)
        for graph, layers in ((reference_graph, reference), (candidate_graph, candidate))
    )
    for expected, actual in zip(*streams, strict=True):
        for name, error in errors.items():
            if expected[name].shape != actual[name].shape:
                raise ModelError(
                    f"{name} gives {list(actual[name].shape)} in {candidate_graph} but {list(expected[name].shape)} "
                    f"in {reference_graph.name}: they are graphs of different models"
                )
            error.add(expected[name], actual[name])
    return _largest([_drift(name, reference[name], error) for name, error in errors.items()], most)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A node whose first output is a float tensor."""

    op: str
    position: int
    tensor: str
    weight: str


@dataclass(slots=True)
class _Error:
    """Sums over frames of one layer's output and of its error."""

    squared_error: float = 0.0
    squared: float = 0.0
    largest_error: float = 0.0
    peak: float = 0.0
    not_finite: int = 0

    def add(self, expected: NDArray[np.float32], actual: NDArray[np.float32]) -> None:
        comparable = np.isfinite(expected)
        expected, actual = expected[comparable], actual[comparable]
        finite = np.isfinite(actual)
        self.not_finite += int(actual.size - np.count_nonzero(finite))
        difference = np.where(finite, actual, 0).astype(np.float64) - expected
        self.squared_error += float(np.vdot(difference, difference))
        self.squared += float(np.square(expected, dtype=np.float64).sum())
        self.largest_error = max(self.largest_error, float(np.abs(difference).max(initial=0)))
        self.peak = max(self.peak, float(np.abs(expected).max(initial=0)))


def _layers(graph: Path) -> dict[str, _Layer]:
    model = load_graph(graph)
    floats = float_tensors(model)
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1}
    return {
        node.name: _Layer(node.op_type, position, node.output[0], _weight_of(node, weights))
        for position, node in enumerate(model.graph.node)
        if node.name and node.output[0] in floats
    }


def _weight_of(node: NodeProto, weights: set[str]) -> str:
    return next((name for name in node.input if name in weights), "")


def _frame_by_frame(
    graph: Path, names: Mapping[str, str], frames: NDArray[np.uint8]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield, for each frame, the name of a layer -> its tensor; `names` is tensor -> layer."""
    tensors = run_with_intermediates(graph, frames, batch_size=1)
    wanted = ((names[tensor], values) for tensor, values in tensors if tensor in names)
    while found := dict(islice(wanted, len(names))):
        yield found


def _drift(name: str, layer: _Layer, error: _Error) -> LayerDrift:
    # The error of a tensor that is zero everywhere has nothing to be relative to, and is absolute.
    relative = (error.squared_error / (error.squared or 1.0)) ** 0.5
    return LayerDrift(
        layer=name,
        op=layer.op,
        position=layer.position,
        relative_error=relative,
        largest_error=error.largest_error,
        peak=error.peak,
        not_finite=error.not_finite,
        weight=layer.weight,
    )


def _largest(drift: list[LayerDrift], most: int) -> tuple[LayerDrift, ...]:
    ordered = sorted(drift, key=lambda layer: (not layer.not_finite, -layer.relative_error, layer.position))
    shown, first = ordered[:most], first_drift(ordered)
    return tuple(shown if first is None or first in shown else [*shown[:-1], first])
