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
_MOST_SIZES = 128
"""Half of what PyTorch compiles for one code in all (`accumulated_recompile_limit`)."""


def open_subject(request: Mapping[str, Any]) -> TorchPeer:
    """Open a checkpoint in one way, on the GPU if there is one."""
    torch.set_num_threads(request["threads"])
    torch.backends.cudnn.benchmark = True
    device, dtype = best_device(), _DTYPES[request["precision"]]
    model = load_checkpoint(Path(request["model"])).model.to(device).to(memory_format=torch.channels_last)
    if dtype != torch.float32:
        model.backbone.to(dtype)
        model.heads.to(dtype)
    return TorchPeer(_WAYS[request["way"]](model), device, request["precision"], request["most_frames"])


class TorchPeer:
    """A model in PyTorch, as `reid.bench.host` times it."""

    def __init__(self, forward: Forward, device: torch.device, precision: str, most_frames: int) -> None:
        self._forward: Forward | None = forward
        self.most_frames = most_frames
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

    def device_memory_mib(self) -> float | None:
        """Return the most memory that PyTorch had on the GPU; None on the CPU."""
        return torch.cuda.max_memory_reserved() / 2**20 if self._device.type == "cuda" else None

    def close(self) -> None:
        """Release the model."""
        self._forward = None


def _eager(model: MultiLevelReID) -> Forward:
    return model


def _compile(model: MultiLevelReID) -> Forward:
    """Compile as PyTorch recommends for inference: CUDA graphs on a GPU, packed weights ("freezing") on a CPU."""
    if best_device().type == "cuda":
        return _for_each_size(torch.compile(model, mode="reduce-overhead", dynamic=False))
    return _for_each_size(torch.compile(model, options={"freezing": True}, dynamic=False))


def _for_each_size(compiled: Forward) -> Forward:
    """Compile for as many sizes of a batch as may be asked for; beyond its limit of 8, PyTorch would run eagerly."""
    from torch._dynamo import config  # slow to import, and eager PyTorch starts without

    config.recompile_limit, config.fail_on_recompile_limit_hit = _MOST_SIZES, True
    return compiled


def _cuda_graph(model: MultiLevelReID) -> Forward:
    return CudaGraphs(model)


def _tensorrt(model: MultiLevelReID) -> Forward:
    """Compile with Torch-TensorRT; the types of the model are those of the engine, as in the exported graphs."""
    importlib.import_module("torch_tensorrt")  # registers the backend
    options: dict[str, Any] = {"use_explicit_typing": True, "min_block_size": 1}
    return _for_each_size(torch.compile(model, backend="tensorrt", options=options, dynamic=False))


_WAYS: dict[str, Callable[[MultiLevelReID], Forward]] = {
    "eager": _eager,
    "compile": _compile,
    "cuda_graph": _cuda_graph,
    "tensorrt": _tensorrt,
}
