"""Changes to timm's ResNets that help re-identification; weights keep the names they have in pretrained files."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from reid.runtime.errors import ModelError

__all__ = ["InstanceBatchNorm", "keep_last_resolution", "use_instance_batch_norm"]


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


class InstanceBatchNorm(nn.Module):
    """IBN-a: instance normalization of the first half of the channels, batch normalization of the other.

    From Pan, Luo, Shi and Tang, *Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net*, ECCV
    2018. Weights have the names that its authors and fast-reid give them.

    Args:
        norm: the normalization to start from: its scale and shift and, for the second half, its statistics.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        half = norm.num_features // 2
        self.boundary = half
        self.IN = nn.InstanceNorm2d(half, eps=norm.eps, affine=True)
        self.BN = nn.BatchNorm2d(norm.num_features - half, eps=norm.eps, momentum=norm.momentum)
        state = norm.state_dict()
        self.IN.load_state_dict({key: state[key][:half] for key in ("weight", "bias")})
        self.BN.load_state_dict({key: value[half:] if value.dim() else value for key, value in state.items()})

    def forward(self, feature: Tensor) -> Tensor:
        """Normalize [N, C, H, W]."""
        first, second = feature[:, : self.boundary], feature[:, self.boundary :]
        return torch.cat([self.IN(first), self.BN(second)], dim=1)


def use_instance_batch_norm(model: nn.Module, name: str) -> None:
    """Turn a ResNet into a ResNet-IBN-a: the first normalization of every block of the first three stages.

    Args:
        model: the model, changed in place; the two halves start from what plain batch normalization has learned.
        name: the model's name, for the error.

    Raises:
        ModelError: the model is not a ResNet with batch normalization.
    """
    names = ("layer1", "layer2", "layer3") if isinstance(model, ResNet) else ()
    blocks: list[Any] = [block for stage in names for block in model.get_submodule(stage).children()]
    if not blocks or any(type(block.bn1) is not nn.BatchNorm2d for block in blocks):
        raise ModelError(f"{name} is not a ResNet with batch normalization, so it cannot become IBN-a; use ibn=false")
    for block in blocks:
        block.bn1 = InstanceBatchNorm(block.bn1)
