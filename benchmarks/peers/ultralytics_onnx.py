"""Ultralytics' way to run a re-ID model on ONNX Runtime, with the same network, in an environment of its own.

Ultralytics (https://github.com/ultralytics/ultralytics) has an encoder of crops for BoT-SORT and its other trackers,
`ultralytics.trackers.utils.reid.ReID`. An exported model runs there by `AutoBackend`: each crop is made a float tensor
from 0 to 1 and resized by PyTorch; the batch goes to ONNX Runtime. The graph is a bundle's, with 0 to 1 made 0 to 255::

    python -m venv ultralytics && ultralytics/bin/pip install ultralytics lap onnx onnxruntime
    reid-bench bundle --peer "Ultralytics=ultralytics/bin/python:benchmarks/peers/ultralytics_onnx.py"

Only the number of threads is set from outside, as Ultralytics has no option for it. The crops come in the model's size,
as the other subjects' frames do. The encoder's own cutting from an image is left out, because it widens each box: the
embeddings would be those of other crops.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import ultralytics
from ultralytics.trackers.utils.reid import ReID

sys.path.insert(0, str(Path(__file__).parent))

from exported_graph import with_float_input
from limited_threads import limit_threads


def open_subject(request: dict) -> Ultralytics:
    """Open a bundle's FP32 graph with Ultralytics, on the CPU."""
    limit_threads(request["threads"])
    torch.set_num_threads(request["threads"])
    return Ultralytics(Path(request["model"]), request["most_frames"])


class Ultralytics:
    """Ultralytics' `ReID`, as `reid.bench.host` times it."""

    def __init__(self, model: Path, most_frames: int) -> None:
        self.most_frames = most_frames
        self._folder = tempfile.TemporaryDirectory(dir=Path.cwd())  # reid-bench removes its processes' folders
        graph = Path(self._folder.name) / "model.onnx"
        with_float_input(model, graph, "0..1")
        self._reid = ReID(str(graph), device="cpu")
        backend = f"Ultralytics {ultralytics.__version__}, ONNX Runtime {onnxruntime.__version__}"
        self.facts = {"backend": backend, "device": "CPU", "precision": "fp32"}

    @torch.no_grad()
    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Embed RGB frames, uint8 [N, 3, H, W], as BGR crops, as `ReID.__call__` does once it has cut them."""
        crops = [frame[::-1].transpose(1, 2, 0) for frame in frames]
        features = self._reid.model(self._reid._crops_to_tensor(crops))
        return np.stack([feature.cpu().numpy() for feature in features])

    def close(self) -> None:
        """Remove the graph."""
        self._folder.cleanup()
