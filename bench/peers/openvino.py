"""OpenVINO as its documents show it: `Core().compile_model(graph, "CPU")`, and call what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.bench.peers.graph import graph_of, inputs_of
from reid.runtime.graph_names import FRAME_EMBEDDING
from reid.runtime.sessions.openvino import import_openvino

__all__ = ["OpenVINOPeer", "open_subject"]

_openvino = import_openvino()  # here, so that opening the model is timed without it


def open_subject(request: Mapping[str, Any]) -> OpenVINOPeer:
    """Open a graph on the CPU. All settings are OpenVINO's own, but for the number of threads."""
    settings = {"INFERENCE_NUM_THREADS": request["threads"]}
    compiled = _openvino.Core().compile_model(graph_of(request), "CPU", settings)
    return OpenVINOPeer(compiled, request["precision"], request["most_frames"])


class OpenVINOPeer:
    """A compiled model, as `reid.bench.host` times it."""

    def __init__(self, compiled: Any, precision: str, most_frames: int) -> None:  # noqa: ANN401 - its types are not checked
        self._compiled = compiled
        self.most_frames = most_frames
        backend = f"OpenVINO {_openvino.__version__.partition('-')[0]}"
        self.facts: Mapping[str, str] = {"backend": backend, "device": "CPU", "precision": self._computed(precision)}

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a batch, uint8 [N, 3, H, W] -> float32 [N, D]."""
        embeddings: NDArray[np.float32] = self._compiled(inputs_of(frames))[FRAME_EMBEDDING]
        return embeddings

    def close(self) -> None:
        """Release the model."""
        self._compiled = None

    def _computed(self, precision: str) -> str:
        """Return the precision that it computes in: by default, BF16 instead of FP32 and FP16 where the CPU can."""
        hint = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        return "bf16" if precision != "int8" and hint == _openvino.Type.bf16 else precision
