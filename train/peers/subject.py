"""A checkpoint in PyTorch, in each of the ways that PyTorch's own documents recommend for inference.

All of them have channels last, inference mode and the machine's number of threads. In half precision the weights are
stored so, and autocast does the rest: what is added up, and the normalization of pixels, stays in float32.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.train.device import best_device, device_name
from reid.train.model.checkpoint import load_checkpoint
from reid.train.model.multi_level import MultiLevelReID
from reid.train.peers.cuda_graph import CudaGraphs

__all__ = ["TorchPeer", "open_subject"]

Forward: TypeAlias = Callable[[Tensor], Tensor]
"""Frames, uint8 [N, 3, H, W] on the device -> embeddings [N, D]."""

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_MOST_FRAMES = 32


def open_subject(request: Mapping[str, Any]) -> TorchPeer:
    """Open a checkpoint in one way, on the GPU if there is one."""
    torch.set_num_threads(request["threads"])
    torch.backends.cudnn.benchmark = True
    device, dtype = best_device(), _DTYPES[request["precision"]]
    model = load_checkpoint(Path(request["model"])).model.to(device).to(memory_format=torch.channels_last)
    if dtype != torch.float32:
        model.backbone.to(dtype)
        model.heads.to(dtype)
    return TorchPeer(_WAYS[request["way"]](model), device, request["precision"])


class TorchPeer:
    """A model in PyTorch, as `reid.bench.host` times it."""

    most_frames = _MOST_FRAMES

    def __init__(self, forward: Forward, device: torch.device, precision: str) -> None:
        self._forward: Forward | None = forward
        self._device = device
        self._dtype = _DTYPES[precision]
        backend = f"PyTorch {torch.__version__}"
        self.facts: Mapping[str, str] = {"backend": backend, "device": device_name(device), "precision": precision}

    @torch.inference_mode()
    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a batch, uint8 [N, 3, H, W] -> float32 [N, D]."""
        assert self._forward is not None
        half = self._dtype != torch.float32
        # Without its cache: the weights are in half precision already, and a CUDA graph must not hold what it frees.
        with torch.autocast(self._device.type, self._dtype if half else None, enabled=half, cache_enabled=False):
            embeddings = self._forward(torch.from_numpy(frames).to(self._device))
        found: NDArray[np.float32] = embeddings.float().cpu().numpy()
        return found

    def device_memory_mib(self) -> float:
        """Return the most memory that PyTorch had on the GPU; 0 on the CPU."""
        return torch.cuda.max_memory_reserved() / 2**20 if self._device.type == "cuda" else 0.0

    def close(self) -> None:
        """Release the model."""
        self._forward = None


def _eager(model: MultiLevelReID) -> Forward:
    return model


def _compile(model: MultiLevelReID) -> Forward:
    """Compile as PyTorch recommends for inference: CUDA graphs on a GPU, packed weights ("freezing") on a CPU.

    Batches of 1 and the first other size are compiled for themselves, all others together.
    """
    if best_device().type == "cuda":
        return torch.compile(model, mode="reduce-overhead")
    return torch.compile(model, options={"freezing": True})


def _cuda_graph(model: MultiLevelReID) -> Forward:
    return CudaGraphs(model)


def _tensorrt(model: MultiLevelReID) -> Forward:
    """Compile with Torch-TensorRT; the types of the model are those of the engine, as in the exported graphs."""
    importlib.import_module("torch_tensorrt")  # registers the backend
    return torch.compile(model, backend="tensorrt", options={"use_explicit_typing": True, "min_block_size": 1})


_WAYS: dict[str, Callable[[MultiLevelReID], Forward]] = {
    "eager": _eager,
    "compile": _compile,
    "cuda_graph": _cuda_graph,
    "tensorrt": _tensorrt,
}
