"""Where two graphs of one model diverge: their tensors compared layer by layer. Needs no onnx."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.verification.drift import DRIFT_THRESHOLD
from reid.evaluation.verification.graph_layers import GraphLayers
from reid.evaluation.verification.layer_errors import MOST_LAYERS, largest_drift, layer_errors
from reid.evaluation.verification.records import LayerDrift
from reid.runtime.errors import ModelError

__all__ = ["drifted_layers"]


def drifted_layers(
    reference_graph: Path, candidate_graph: Path, frames: NDArray[np.uint8], *, most: int = MOST_LAYERS
) -> tuple[LayerDrift, ...]:
    """Run both graphs with ONNX Runtime on the CPU and compare the outputs of corresponding layers.

    Layers correspond by name and operator; a node of one graph only, such as a cast or a Q/DQ pair, is left out.

    Args:
        reference_graph: the FP32 graph.
        candidate_graph: a graph made from it.
        frames: the frames to run, uint8 [n, 3, H, W], resized as the card says.
        most: the most layers to return, at least 1.

    Returns:
        The layers that `largest_drift` shows.

    Raises:
        ModelError: a graph is absent or damaged, or the two are not graphs of one model.
    """
    reference, candidate = GraphLayers(reference_graph), GraphLayers(candidate_graph)
    pairs = [
        (layer, other)
        for layer in reference.layers.values()
        if (other := candidate.layers.get(layer.name)) is not None and other.op == layer.op
    ]
    if not pairs:
        raise ModelError(
            f"{candidate_graph} shares no layer with {reference_graph.name}: they are graphs of different models"
        )
    expected = reference.run(frames, [layer.tensor for layer, _ in pairs])
    actual = candidate.run(frames, [layer.tensor for _, layer in pairs])
    return largest_drift(layer_errors(pairs, expected, actual), DRIFT_THRESHOLD, most)
