"""IBN-Net (Pan, Luo, Shi and Tang, *Two at Once: Enhancing Learning and Generalization Capacities*, ECCV 2018).

A ResNet with instance normalization in its early stages, in one of two ways. Its authors, torchreid and fast-reid give
the weights the same names as here.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, Literal

import torch
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from reid.runtime.errors import ModelError

__all__ = ["InstanceBatchNorm", "InstanceNormBlock", "use_instance_batch_norm"]


class InstanceBatchNorm(nn.Module):
    """IBN-a: instance normalization of the first half of the channels, batch normalization of the other.

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


class InstanceNormBlock(nn.Module):
    """IBN-b: a block whose sum is instance-normalized before its last activation.

    Args:
        block: the block, whose modules become this one's under the names that they have.
    """

    def __init__(self, block: Any) -> None:  # noqa: ANN401 - BasicBlock or Bottleneck, whose modules timm does not type
        super().__init__()
        modules = dict(block.named_children())  # in the order in which they are computed
        self.activation = "act3" if "act3" in modules else "act2"
        self.branch = list(modules)[: list(modules).index(self.activation)]
        for name, module in modules.items():
            self.add_module(name, module)
        norm: Any = modules["bn3" if "bn3" in modules else "bn2"]
        self.IN = nn.InstanceNorm2d(norm.num_features, affine=True)

    def forward(self, feature: Tensor) -> Tensor:
        """Map [N, C, H, W] as the block would, but for the normalization."""
        shortcut = self.get_submodule("downsample")(feature) if hasattr(self, "downsample") else feature
        for name in self.branch:
            feature = self.get_submodule(name)(feature)
        output: Tensor = self.get_submodule(self.activation)(self.IN(shortcut + feature))
        return output


def use_instance_batch_norm(model: nn.Module, name: str, kind: Literal["a", "b"]) -> None:
    """Turn a ResNet into a ResNet-IBN, whose normalizations start from what batch normalization has learned.

    Args:
        model: the model, changed in place.
        name: the model's name, for the error.
        kind: "a" for the first normalization of every block of the first three stages, "b" for the stem's and for one
            more after the sum in the last block of the first two stages.

    Raises:
        ModelError: the model is not a ResNet with batch normalization.
    """
    stages: list[Any] = (
        [model.get_submodule(f"layer{index}") for index in (1, 2, 3)] if isinstance(model, ResNet) else []
    )
    if not stages or not all(map(_is_plain, chain(*stages))):
        raise ModelError(
            f"{name} is not a ResNet with batch normalization, so it cannot become IBN-{kind}; use ibn=none"
        )
    if kind == "a":
        for block in chain(*stages):
            block.bn1 = InstanceBatchNorm(block.bn1)
    else:
        model.bn1 = _instance_norm(model.get_submodule("bn1"))
        for stage in stages[:2]:
            stage[-1] = InstanceNormBlock(stage[-1])


def _is_plain(block: nn.Module) -> bool:
    return isinstance(block, BasicBlock | Bottleneck) and type(block.bn1) is nn.BatchNorm2d


def _instance_norm(norm: Any) -> nn.InstanceNorm2d:  # noqa: ANN401 - a BatchNorm2d
    changed = nn.InstanceNorm2d(norm.num_features, eps=norm.eps, affine=True)
    changed.load_state_dict({key: norm.state_dict()[key] for key in ("weight", "bias")})
    return changed
