"""The moving average of a model's weights, which is what is evaluated, kept and deployed."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["weight_average"]

_Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


def weight_average(model: nn.Module, decay: float) -> AveragedModel:
    """Start the exponential moving average of a model: weights, and statistics of batch normalization.

    ``average <- d * average + (1 - d) * model`` with ``d = min(decay, (1 + t) / (10 + t))`` after t updates, so that
    what a short run started from is forgotten, as in TensorFlow's ExponentialMovingAverage.

    Args:
        model: on its device; it is copied, and may go on learning.
        decay: 0 or more, less than 1.

    Returns:
        Call `update_parameters(model)` after every step. `module` is the averaged model, which never learns. The state
        dict holds all that is needed to go on.

    Raises:
        ValueError: a decay outside its range.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay is {decay}: it must be 0 or more, and less than 1")

    def advance(averages: _Tensors, current: _Tensors, updates: Tensor | int) -> None:
        done = int(average.n_averaged)  # which is on the CPU; `updates` is its copy on a GPU, and reading that waits
        blend = get_ema_multi_avg_fn(min(decay, (1 + done) / (10 + done)))  # type: ignore[no-untyped-call]
        blend(averages, current, updates)

    average = AveragedModel(model, multi_avg_fn=advance, use_buffers=True)
    average.requires_grad_(False)
    return average.eval()
