"""Batch normalization over the batch of all processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["SyncedBatchNorm", "synchronize_batch_norm"]


class SyncedBatchNorm(_BatchNorm):
    """torch.nn.SyncBatchNorm for any device, not only for GPUs: statistics and gradients are those of all processes.

    Args:
        like: the layer to replace; its parameters and buffers are shared, and timm's `drop` and `act` if it has them.
    """

    def __init__(self, like: _BatchNorm) -> None:
        super().__init__(like.num_features, like.eps, like.momentum, like.affine, like.track_running_stats)
        self.weight, self.bias = like.weight, like.bias
        self.running_mean, self.running_var = like.running_mean, like.running_var
        self.num_batches_tracked = like.num_batches_tracked
        self.drop = getattr(like, "drop", nn.Identity())
        self.act = getattr(like, "act", nn.Identity())
        self.train(like.training)

    def forward(self, features: Tensor) -> Tensor:
        """Normalize [N, C, ..]; N may differ between processes."""
        normalized = self._by_batch(features) if self.training else self._by_running_statistics(features)
        output: Tensor = self.act(self.drop(normalized))
        return output

    def _by_running_statistics(self, features: Tensor) -> Tensor:
        return F.batch_norm(features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def _by_batch(self, features: Tensor) -> Tensor:
        over = [0, *range(2, features.dim())]
        shape = [1, -1] + [1] * (features.dim() - 2)
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        own_count = values.new_tensor([values.numel() / values.shape[1]])
        sums: Tensor = _AllReduce.apply(torch.cat([values.sum(over), own_count]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centered = values - mean.view(shape)
        # Not the mean of squares minus the square of the mean, which suffers from cancellation.
        variance: Tensor = _AllReduce.apply(centered.square().sum(over)) / count
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * count / (count - 1))
        normalized = centered * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalized = normalized * self.weight.view(shape) + self.bias.view(shape)
        return normalized.to(features.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
        self.running_var.mul_(1 - momentum).add_(variance, alpha=momentum)


class _AllReduce(torch.autograd.Function):
    """Sum over the processes. The gradient is summed, too, because every process's loss depends on the sum."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:  # noqa: ANN401 - as PyTorch declares it
        return _summed(own)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        return _summed(gradient)


def _summed(own: Tensor) -> Tensor:
    total = own.contiguous().clone()
    dist.all_reduce(total)
    return total


def synchronize_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Let every batch normalization in `model` use all processes' frames; the names in the state dict stay."""
    if device.type == "cuda":
        convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm):
            setattr(model, name, SyncedBatchNorm(child))
        else:
            synchronize_batch_norm(child, device)
