from __future__ import annotations

import pytest
import torch

from reid.runtime.errors import ModelError
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import Backbone, create_backbone, freeze


def create(name: str, weights: str = "none", **parts: object) -> Backbone:
    torch.manual_seed(0)
    return create_backbone(name, (3, 4), image_size=64, weights=weights, architecture=Architecture(**parts))


def maps(backbone: Backbone, size: int = 64) -> list[torch.Tensor]:
    frames = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return backbone.module.eval().forward_intermediates(frames, indices=[3, 4], intermediates_only=True)


# Strides in a convolution, in an average pooling beside it, and in an anti-aliasing filter.
@pytest.mark.parametrize(
    "name", ["resnet18", "resnet10t", "resnet26d", "resnetblur18", "resnext50_32x4d", "seresnet18"]
)
def test_the_last_map_has_the_resolution_of_the_one_before(name: str) -> None:
    usual, kept = create(name), create(name, last_stride=1)
    assert [tuple(m.shape[2:]) for m in maps(usual)] == [(4, 4), (2, 2)]
    assert [tuple(m.shape[2:]) for m in maps(kept)] == [(4, 4), (4, 4)]
    assert torch.equal(maps(usual)[0], maps(kept)[0])
    for (key, one), (other_key, other) in zip(
        usual.module.state_dict().items(), kept.module.state_dict().items(), strict=True
    ):
        assert key == other_key
        assert torch.equal(one, other), key


@pytest.mark.parametrize("parts", [{"last_stride": 1}, {"ibn": "a"}, {"ibn": "b"}])
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_050"])
def test_the_error_for_another_network_names_the_setting_to_change(name: str, parts: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=f"{name} is not a ResNet.*use {next(iter(parts))}"):
        create(name, **parts)


def test_a_frozen_backbone_neither_learns_nor_updates_its_statistics() -> None:
    backbone = create("resnet10t").module.train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    freeze(backbone, True)
    output = backbone.forward_intermediates(torch.randn(2, 3, 64, 64), intermediates_only=True)[-1]
    assert not output.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    freeze(backbone.train(), False)
    backbone.forward_intermediates(torch.randn(2, 3, 64, 64), intermediates_only=True)[-1].sum().backward()
    assert backbone.conv1[0].weight.grad is not None
    assert not torch.equal(backbone.bn1.running_mean, before["bn1.running_mean"])
