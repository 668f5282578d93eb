"""OSNet (Zhou et al., *Omni-Scale Feature Learning for Person Re-Identification*, ICCV 2019), for timm's registry.

It has 1.9 million parameters without a head. Its tensors have the names of torchreid's and fast-reid's files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

__all__ = ["OSNet", "OmniScaleBlock"]

_BOTTLENECK, _GATE = 4, 16
"""By how much a block and its gate are narrower than their outputs."""

default_cfgs = generate_default_cfgs(
    {"osnet_x1_0": {"input_size": (3, 256, 128), "mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}}
)


class _ConvNorm(nn.Module):
    """Convolution, batch normalization and, unless it is linear, ReLU."""

    def __init__(self, width: int, out: int, size: int = 1, *, stride: int = 1, linear: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, out, size, stride, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.relu = nn.Identity() if linear else nn.ReLU()

    def forward(self, feature: Tensor) -> Tensor:
        output: Tensor = self.relu(self.bn(self.conv(feature)))
        return output


class _LightConv(nn.Module):
    """The Lite 3x3 convolution: pointwise, then depthwise, and only then normalization and ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, feature: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv2(self.conv1(feature))))


class _AggregationGate(nn.Module):
    """A weight in (0, 1) for every channel of every image, by which a stream of a block is multiplied."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // _GATE, 1)
        self.fc2 = nn.Conv2d(width // _GATE, width, 1)

    def forward(self, feature: Tensor) -> Tensor:
        hidden = F.relu(self.fc1(feature.mean(dim=(2, 3), keepdim=True)))
        weight: Tensor = self.fc2(hidden).sigmoid()
        return feature * weight


class OmniScaleBlock(nn.Module):
    """Four streams of one to four Lite 3x3 convolutions, so of four receptive fields, added up through one gate.

    Args:
        width: number of channels of the input.
        out: number of channels of the output.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        narrow = out // _BOTTLENECK
        self.conv1 = _ConvNorm(width, narrow)
        self.conv2a = _LightConv(narrow)
        self.conv2b, self.conv2c, self.conv2d = (
            nn.Sequential(*(_LightConv(narrow) for _ in range(depth))) for depth in (2, 3, 4)
        )
        self.gate = _AggregationGate(narrow)
        self.conv3 = _ConvNorm(narrow, out, linear=True)
        self.downsample = _ConvNorm(width, out, linear=True) if width != out else nn.Identity()

    def forward(self, feature: Tensor) -> Tensor:
        """Map [N, width, H, W] to [N, out, H, W]."""
        reduced = self.conv1(feature)
        one, two, three, four = (
            self.gate(stream(reduced)) for stream in (self.conv2a, self.conv2b, self.conv2c, self.conv2d)
        )
        return F.relu(self.conv3(one + two + three + four) + self.downsample(feature))


def _stage(width: int, out: int, *, halved: bool = True) -> nn.Sequential:
    """Return two blocks and, if the map is halved after them, a convolution with average pooling."""
    blocks = (OmniScaleBlock(width, out), OmniScaleBlock(out, out))
    return nn.Sequential(*blocks, *([nn.Sequential(_ConvNorm(out, out), nn.AvgPool2d(2))] if halved else []))


class OSNet(nn.Module):
    """The network without a head, with the part of timm's interface that a backbone needs.

    Its levels are the rows of the paper's table: 0 is conv1, 1 to 4 are conv2 to conv5, before a map is halved; at
    strides of 2, 4, 8, 16 and 16.

    Args:
        widths: numbers of channels of conv1 to conv4; conv5 has those of conv4.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (64, 256, 384, 512)) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.conv1 = _ConvNorm(3, first, 7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = _stage(first, second)
        self.conv3 = _stage(second, third)
        self.conv4 = _stage(third, fourth, halved=False)
        self.conv5 = _ConvNorm(fourth, fourth)
        self.pretrained_cfg = default_cfgs["osnet_x1_0"].default.to_dict()
        self.feature_info = [
            {"num_chs": channels, "reduction": stride, "module": f"conv{index}"}
            for index, (channels, stride) in enumerate(zip((*widths, fourth), (2, 4, 8, 16, 16), strict=True), start=1)
        ]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: Tensor) -> Tensor:
        """Map normalized frames [N, 3, H, W] to the last level's map."""
        return self._levels(frames, len(self.feature_info) - 1)[-1]

    def forward_intermediates(
        self, frames: Tensor, indices: Sequence[int], *, intermediates_only: bool = True
    ) -> list[Tensor]:
        """Return the maps of some levels, [N, channels, H / stride, W / stride] each.

        Args:
            frames: normalized frames, [N, 3, H, W].
            indices: indices of the levels.
            intermediates_only: timm's, and always true.
        """
        levels = self._levels(frames, max(indices))
        return [levels[index] for index in indices]

    def prune_intermediate_layers(self, indices: Sequence[int], **_: bool) -> None:
        """Remove what no level of `indices` needs."""
        last = max(indices)
        for level in range(last + 1, len(self.feature_info)):
            setattr(self, f"conv{level + 1}", nn.Identity())
        if 0 < last < 4:
            setattr(self, f"conv{last + 1}", self.get_submodule(f"conv{last + 1}")[:2])  # type: ignore[index]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return how tensors belong to layers, for rates that differ by layer; conv5 matches none, and is the last."""
        return {"stem": r"^conv1", "blocks": r"^conv([2-4])" if coarse else r"^conv([2-4])\.(\d+)"}

    def _levels(self, frames: Tensor, last: int) -> list[Tensor]:
        levels = [self.conv1(frames)]
        feature = self.maxpool(levels[0])
        for stage in (self.conv2, self.conv3, self.conv4)[:last]:
            levels.append(stage[:2](feature))
            feature = stage[2:](levels[-1])
        return [*levels, self.conv5(feature)] if last == 4 else levels


@register_model
def osnet_x1_0(pretrained: bool = False, **_: Any) -> OSNet:  # noqa: ANN401 - what timm passes to every model
    """Build OSNet x1.0. Raises ValueError where timm is asked for weights of it, which it does not have."""
    if pretrained:
        raise ValueError("timm has no weights of OSNet")
    return OSNet()
