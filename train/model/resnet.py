"""A change to timm's ResNets that helps re-identification; weights keep the names they have in pretrained files."""

from __future__ import annotations

import torch
from timm.models.resnet import ResNet
from torch import nn

from reid.runtime.errors import ModelError

__all__ = ["keep_last_resolution"]


def keep_last_resolution(model: nn.Module, name: str) -> None:
    """Remove the stride of the last stage: its map is then twice as high and wide, with the same weights.

    From Luo et al., *Bag of Tricks and a Strong Baseline for Deep Person Re-identification*, CVPRW 2019.

    Args:
        model: the model, changed in place.
        name: the model's name, for the error.

    Raises:
        ModelError: the model is not a ResNet, or has another kind of stride.
    """
    if not isinstance(model, ResNet):
        raise ModelError(f"{name} is not a ResNet, so it has no last stride to remove; use last_stride=2")
    stage = model.get_submodule("layer4")
    for path, module in list(stage.named_modules()):
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
        elif isinstance(module, nn.AvgPool2d) or path.endswith(".aa"):
            stage.set_submodule(path, nn.Identity())
    width = next(module.in_channels for module in stage.modules() if isinstance(module, nn.Conv2d))
    stage.eval()  # so that the trial leaves no trace in its statistics
    with torch.no_grad():
        height = stage(torch.zeros(1, width, 4, 4)).shape[2]
    stage.train()
    if height != 4:
        raise ModelError(f"{name} has a last stage whose stride cannot be removed; use last_stride=2")
