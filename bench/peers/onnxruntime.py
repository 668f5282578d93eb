"""ONNX Runtime as its documents show it: `InferenceSession(graph).run`, with arrays in host memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.bench.peers.graph import graph_of, inputs_of
from reid.runtime.errors import SessionError
from reid.runtime.graph_names import FRAME_EMBEDDING
from reid.runtime.sessions.onnxruntime_providers import best_device, find_provider, import_onnxruntime

__all__ = ["OnnxRuntimePeer", "open_subject"]

_onnxruntime = import_onnxruntime()  # here, so that opening the model is timed without it


def open_subject(request: Mapping[str, Any]) -> OnnxRuntimePeer:
    """Open a graph on the GPU if there is one. All options are ONNX Runtime's own, but for the number of threads.

    Raises:
        SessionError: ONNX Runtime took the CPU instead of the GPU, which it only prints.
    """
    provider = find_provider(best_device())
    options = _onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    session = _onnxruntime.InferenceSession(str(graph_of(request)), options, providers=[provider.name])
    if session.get_providers()[0] != provider.name:
        raise SessionError(f"ONNX Runtime fell back from {provider.name} to the CPU: {provider.remedy}")
    return OnnxRuntimePeer(session, request["precision"], provider.title, request["most_frames"])


class OnnxRuntimePeer:
    """An `InferenceSession`, as `reid.bench.host` times it."""

    def __init__(self, session: Any, precision: str, device: str, most_frames: int) -> None:  # noqa: ANN401 - no types of its own
        self._session = session
        self.most_frames = most_frames
        backend = f"ONNX Runtime {_onnxruntime.__version__}"
        self.facts: Mapping[str, str] = {"backend": backend, "device": device, "precision": precision}

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a batch, uint8 [N, 3, H, W] -> float32 [N, D]."""
        embeddings: NDArray[np.float32] = self._session.run([FRAME_EMBEDDING], inputs_of(frames))[0]
        return embeddings

    def close(self) -> None:
        """Release the model."""
        self._session = None
