"""A module as CUDA graphs, one for each size of a batch: its kernels are launched at once, not one by one.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["CudaGraphs"]

_WARM_UP = 3
"""Runs before capture, in which cuDNN chooses its algorithms."""


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: Tensor
    outputs: Tensor


class CudaGraphs:
    """Calls a module of one input; a size of a batch that is new is captured first."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._captured: dict[int, _Captured] = {}

    def __call__(self, frames: Tensor) -> Tensor:
        """Return the module's output, which is valid until the next call with a batch of the same size."""
        if len(frames) not in self._captured:
            self._captured[len(frames)] = self._capture(frames)
        graph, inputs, outputs = self._captured[len(frames)]
        inputs.copy_(frames)
        graph.replay()
        return outputs

    def _capture(self, frames: Tensor) -> _Captured:
        inputs = frames.clone()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                self._module(inputs)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._module(inputs)
        return _Captured(graph, inputs, outputs)
