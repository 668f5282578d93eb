"""The norms of the levels' features before normalization, recorded on their way through the model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from reid.train.model.multi_level import MultiLevelReID

__all__ = ["recorded_norms"]


@contextlib.contextmanager
def recorded_norms(model: MultiLevelReID) -> Iterator[list[list[Tensor]]]:
    """Record the norm of each level's feature just before its L2 normalization, within the context.

    Yields:
        One list per level, to which every batch of N frames that the model embeds adds float32 [N], on its device.
    """
    last = model.bnneck if len(model.bnneck) else model.heads
    norms: list[list[Tensor]] = [[] for _ in last]
    hooks = [module.register_forward_hook(_append_to(of_level)) for module, of_level in zip(last, norms, strict=True)]
    try:
        yield norms
    finally:
        for hook in hooks:
            hook.remove()


def _append_to(norms: list[Tensor]) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(module: nn.Module, inputs: object, feature: Tensor) -> None:
        norms.append(torch.linalg.vector_norm(feature.detach().float(), dim=1))

    return hook
