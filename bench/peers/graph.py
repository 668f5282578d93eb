"""What peers of exported graphs have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.bundle import graph_file
from reid.runtime.graph_names import FRAMES, POOLING

__all__ = ["graph_of", "inputs_of"]


def graph_of(request: Mapping[str, Any]) -> Path:
    """Return the ONNX file that a request to open names: a graph, or a bundle's graph of its precision."""
    model = Path(request["model"])
    return model / graph_file(request["precision"]) if model.is_dir() else model


def inputs_of(frames: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return a graph's inputs for frames [N, 3, H, W], of which none belong together."""
    return {FRAMES: frames, POOLING: np.ones((1, len(frames)), np.float32)}
