"""Running statistics of batch normalization when a batch is computed in parts, and some parts twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["averaged_statistics", "untouched_statistics"]


@contextlib.contextmanager
def averaged_statistics(model: nn.Module) -> Iterator[Callable[[], None]]:
    """Let a batch that is computed in parts update the running statistics once, by the mean of its parts' statistics.

    Yields:
        A function to call after each part.
    """
    averages = [_Average(norm) for norm in _learning_norms(model)]

    def count_part() -> None:
        for average in averages:
            average.count_part()

    try:
        yield count_part
    finally:
        for average in averages:
            average.finish()


class _Average:
    """Replaces the running statistics of a layer while the parts of a batch are computed.

    The buffers themselves change only at the end, because the graph of a part refers to those it was computed with.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        self._norm = norm
        self._buffers = _statistics(norm)
        self._momentum = norm.momentum
        self._count = _count(norm).clone()
        self._sums = [torch.zeros_like(buffer) for buffer in self._buffers]
        self._parts = 0
        norm.running_mean, norm.running_var = (buffer.clone() for buffer in self._buffers)
        norm.momentum = 1.0  # so that the statistics are those of the last part alone

    def count_part(self) -> None:
        self._parts += 1
        for total, statistic in zip(self._sums, _statistics(self._norm), strict=True):
            total.add_(statistic)

    def finish(self) -> None:
        self._norm.running_mean, self._norm.running_var = self._buffers
        self._norm.momentum = self._momentum
        _count(self._norm).copy_(self._count + 1)
        # Without a momentum, PyTorch takes the mean over all batches.
        weight = 1 / (float(self._count) + 1) if self._momentum is None else self._momentum
        for buffer, total in zip(self._buffers, self._sums, strict=True):
            buffer.lerp_(total / max(self._parts, 1), weight)


@contextlib.contextmanager
def untouched_statistics(model: nn.Module) -> Iterator[None]:
    """Normalize by the batch, as in training, without updating the running statistics."""
    norms = _learning_norms(model)
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _learning_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the layers whose running statistics a forward pass would update."""
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def _count(norm: _BatchNorm) -> Tensor:
    assert norm.num_batches_tracked is not None
    return norm.num_batches_tracked
