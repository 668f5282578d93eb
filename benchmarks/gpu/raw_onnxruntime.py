"""ONNX Runtime without this project, to see what its options do; and its bindings to memory on the device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from proving import Skipped
from torch import Tensor

__all__ = ["Bound", "raw_session", "run_raw"]

_OUTPUTS = ("frame_embedding", "pooled")
_DISABLED = ["WeightBiasQuantization"]  # as the project has it: it loses biases beside Q/DQ pairs in FP16
Batch: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.float32]]
_TYPES = {torch.uint8: np.uint8, torch.float32: np.float32}


def raw_session(graph: Path, device: str, options: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - no stubs
    """Open a graph with a provider's options, "use_tf32" off unless they say otherwise.

    Raises:
        Skipped: this ONNX Runtime has no CUDA provider, or that does not start.
    """
    import onnxruntime

    if device == "cpu":
        providers: list[Any] = ["CPUExecutionProvider"]
    else:
        providers = [("CUDAExecutionProvider", {"use_tf32": "0", **(options or {})})]
    if device != "cpu" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise Skipped("onnxruntime has no CUDA provider: carry onnxruntime-gpu")
    session = onnxruntime.InferenceSession(str(graph), providers=providers, disabled_optimizers=_DISABLED)
    if device != "cpu" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise Skipped("ONNX Runtime's CUDA provider did not start; log.txt says why")
    return session


def run_raw(session: Any, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> list[NDArray[np.float32]]:  # noqa: ANN401
    """Run a batch from and to host memory."""
    outputs: list[NDArray[np.float32]] = session.run(list(_OUTPUTS), {"frames": frames, "pooling": pooling})
    return outputs


class Bound:
    """A batch whose inputs and outputs are PyTorch's tensors on the device, bound by their addresses."""

    def __init__(self, session: Any, batch: Batch, dimensions: int, device: str) -> None:  # noqa: ANN401
        frames, pooling = (torch.from_numpy(array).to(device) for array in batch)
        self.inputs = {"frames": frames, "pooling": pooling}
        counts = zip(_OUTPUTS, (len(frames), len(pooling)), strict=True)
        self.outputs = {name: torch.zeros(count, dimensions, device=device) for name, count in counts}
        self._session, self._binding = session, session.io_binding()
        for name, tensor in self.inputs.items():
            self._binding.bind_input(name, *self._place(tensor, device))
        for name, tensor in self.outputs.items():
            self._binding.bind_output(name, *self._place(tensor, device))
        if device != "cpu":
            torch.cuda.synchronize()  # ONNX Runtime has a stream of its own

    @staticmethod
    def _place(tensor: Tensor, device: str) -> tuple[object, ...]:
        return device, 0, _TYPES[tensor.dtype], tuple(tensor.shape), tensor.data_ptr()

    def run(self, options: object = None) -> None:
        """Run the batch; ONNX Runtime waits for its end."""
        self._session.run_with_iobinding(self._binding, options)

    def results(self) -> list[NDArray[np.float32]]:
        """Return the outputs."""
        return [tensor.cpu().numpy() for tensor in self.outputs.values()]
