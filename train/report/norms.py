"""The lengths of the levels' features before they are normalized, read on their way through the model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from reid.train.model.multi_level import MultiLevelReID

__all__ = ["recorded_norms"]


@contextlib.contextmanager
def recorded_norms(model: MultiLevelReID) -> Iterator[list[list[Tensor]]]:
    """Record, while the block lasts, how long each level's feature is when it comes to its L2 normalization.

    Yields:
        Per level a list, to which every batch of N frames that the model embeds adds float32 [N], on its device.
    """
    last = model.bnneck if len(model.bnneck) else model.heads
    lengths: list[list[Tensor]] = [[] for _ in last]
    hooks = [module.register_forward_hook(_adding_to(of_level)) for module, of_level in zip(last, lengths, strict=True)]
    try:
        yield lengths
    finally:
        for hook in hooks:
            hook.remove()


def _adding_to(lengths: list[Tensor]) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(module: nn.Module, inputs: object, feature: Tensor) -> None:
        lengths.append(torch.linalg.vector_norm(feature.detach().float(), dim=1))

    return hook
