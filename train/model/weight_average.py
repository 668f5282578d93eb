"""The moving average of a model's weights, which is evaluated, stored and deployed in place of the model."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["weight_average"]

_Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


def weight_average(model: nn.Module, decay: float) -> AveragedModel:
    """Start the exponential moving average of a model: its weights, and the statistics of batch normalization.

    ``average <- d * average + (1 - d) * model`` with ``d = min(decay, (1 + t) / (10 + t))`` after t updates, so that
    a short run forgets what it started from, as in TensorFlow's ExponentialMovingAverage.

    Args:
        model: the model on its device; it is copied, and may go on learning.
        decay: the decay, 0 or more and less than 1.

    Returns:
        The average. Call its `update_parameters(model)` after every step. Its `module` is the averaged model, which
        never learns, and its state dict holds everything needed to go on.

    Raises:
        ValueError: the decay is out of range.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay is {decay}: it must be 0 or more, and less than 1")

    def advance(averages: _Tensors, current: _Tensors, updates: Tensor | int) -> None:
        done = int(average.n_averaged)  # on the CPU; reading `updates`, its copy on a GPU, would wait for it
        blend = get_ema_multi_avg_fn(min(decay, (1 + done) / (10 + done)))  # type: ignore[no-untyped-call]
        blend(averages, current, updates)

    average = AveragedModel(model, multi_avg_fn=advance, use_buffers=True)
    average.requires_grad_(False)
    return average.eval()
