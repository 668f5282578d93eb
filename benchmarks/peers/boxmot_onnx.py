"""BoxMOT's way to run a re-ID model on ONNX Runtime, with the same network, in an environment of its own.

BoxMOT (https://github.com/mikel-brostrom/boxmot) gives crops to `boxmot.reid.core.runtime.ReID`, whose ONNX backend its
trackers use as well: OpenCV resizes each crop, PyTorch makes a float tensor of it and normalizes the batch, which goes
to ONNX Runtime. The graph is a bundle's, without its own normalization: BoxMOT's mean and standard deviation are those
of ImageNet, with which our backbones are trained, too::

    python -m venv boxmot && boxmot/bin/pip install boxmot onnx onnxruntime
    reid-bench bundle --peer "BoxMOT=boxmot/bin/python:benchmarks/peers/boxmot_onnx.py"

BoxMOT wants a certain version of ONNX Runtime, and installs it when it first opens a graph without. Only the number of
threads is set from outside, as BoxMOT has no option for it. The crops come in the model's size, as the other subjects'
frames do, so that OpenCV has nothing to resize.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
from boxmot.reid.core.runtime import ReID

sys.path.insert(0, str(Path(__file__).parent))

from exported_graph import with_float_input
from limited_threads import limit_threads


def open_subject(request: dict) -> BoxMot:
    """Open a bundle's FP32 graph with BoxMOT, on the CPU."""
    limit_threads(request["threads"])
    return BoxMot(Path(request["model"]), request["most_frames"])


class BoxMot:
    """BoxMOT's `ReID`, as `reid.bench.host` times it."""

    def __init__(self, model: Path, most_frames: int) -> None:
        self.most_frames = most_frames
        self._folder = tempfile.TemporaryDirectory(dir=Path.cwd())  # reid-bench removes its processes' folders
        graph = Path(self._folder.name) / "model.onnx"
        with_float_input(model, graph, "normalized")
        self._reid = ReID(graph, device="cpu")
        backend = f"BoxMOT {version('boxmot')}, ONNX Runtime {onnxruntime.__version__}"
        self.facts = {"backend": backend, "device": "CPU", "precision": "fp32"}

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Embed RGB frames, uint8 [N, 3, H, W], as BGR crops: BoxMOT takes what OpenCV reads."""
        crops = [np.ascontiguousarray(frame[::-1].transpose(1, 2, 0)) for frame in frames]
        return self._reid(crops)

    def close(self) -> None:
        """Remove the graph."""
        self._folder.cleanup()
