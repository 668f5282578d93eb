"""The moving average of a model's weights, which is evaluated, stored and deployed in place of the model."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage(nn.Module):
    """The exponential moving average of a model: its weights, and the statistics of batch normalization.

    ``average <- d * average + (1 - d) * model`` with ``d = min(decay, (1 + t) / (10 + t))`` after t steps, so that a
    short run forgets what it started from, as in TensorFlow's ExponentialMovingAverage. The first step's weights are
    taken as they are. Like `torch.optim.swa_utils.AveragedModel`, whose states it loads, but it never makes the CPU
    wait for a GPU.

    Args:
        model: the model on its device; it is copied, and may go on learning.
        decay: the decay, 0 or more and less than 1.

    Attributes:
        module: the averaged model, which never learns. The state dict holds everything needed to go on.

    Raises:
        ValueError: the decay is out of range.
    """

    n_averaged: Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}: it must be 0 or more, and less than 1")
        super().__init__()
        self._decay = decay
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", torch.tensor(0))  # the steps; on the CPU, where reading it waits for nothing
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def update(self, model: nn.Module, moved: Tensor | None = None) -> None:
        """Take a step's weights into the average. Counts such as the batches seen are copied.

        Args:
            model: the model after the step.
            moved: bool [], on the model's device: whether the step changed the weights; if not, the average stays as
                it is. None where every step does.
        """
        steps = int(self.n_averaged)
        weight = 1 - min(self._decay, (1 + steps) / (10 + steps)) if steps else 1.0
        (averages, copies), (values, counts) = _tensors(self.module), _tensors(model)
        torch._foreach_lerp_(averages, values, weight if moved is None else [moved * weight] * len(averages))
        for copied, count in zip(copies, counts, strict=True):
            copied.copy_(count)
        self.n_averaged += 1


def _tensors(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights and statistics of a model, and its counts."""
    tensors = [*model.parameters(), *model.buffers()]
    return [one for one in tensors if one.is_floating_point()], [one for one in tensors if not one.is_floating_point()]
