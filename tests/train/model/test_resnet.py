from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from reid.runtime.errors import ModelError
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import Backbone, create_backbone, freeze
from reid.train.model.resnet import InstanceBatchNorm


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


@pytest.mark.parametrize("parts", [{"last_stride": 1}, {"ibn": True}])
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_050"])
def test_the_error_for_another_network_names_the_setting_to_change(name: str, parts: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=f"{name} is not a ResNet.*use {next(iter(parts))}"):
        create(name, **parts)


def test_ibn_normalizes_half_by_instance_and_half_by_batch() -> None:
    norm = nn.BatchNorm2d(5)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 2)
    feature = torch.randn(4, 5, 6, 7)
    actual = InstanceBatchNorm(norm).eval()(feature)
    first = feature[:, :2]
    mean, std = (
        first.mean(dim=(2, 3), keepdim=True),
        first.var(dim=(2, 3), keepdim=True, unbiased=False).add(1e-5).sqrt(),
    )
    scaled = (first - mean) / std * norm.weight[:2, None, None] + norm.bias[:2, None, None]
    torch.testing.assert_close(actual[:, :2], scaled)
    torch.testing.assert_close(actual[:, 2:], norm.eval()(feature)[:, 2:])


def test_ibn_is_in_the_layers_where_its_authors_put_it() -> None:
    backbone = create("resnet50", ibn=True).module
    found = {name for name, module in backbone.named_modules() if isinstance(module, InstanceBatchNorm)}
    assert found == {
        f"layer{stage}.{block}.bn1" for stage, blocks in ((1, 3), (2, 4), (3, 6)) for block in range(blocks)
    }


def test_ibn_starts_from_what_batch_normalization_has_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    learned = timm.create_model("resnet18")
    with torch.no_grad():
        for tensor in learned.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 1)
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: learned)
    plain = {key: value.clone() for key, value in learned.state_dict().items()}
    state = create("resnet18", ibn=True).module.state_dict()
    halves = [state["layer2.0.bn1.IN.weight"], state["layer2.0.bn1.BN.weight"]]
    assert torch.equal(torch.cat(halves), plain["layer2.0.bn1.weight"])
    assert torch.equal(state["layer2.0.bn1.BN.running_var"], plain["layer2.0.bn1.running_var"][64:])
    assert torch.equal(state["layer4.0.bn1.weight"], plain["layer4.0.bn1.weight"])


def test_files_of_ibn_weights_fit_only_ibn(tmp_path: Path) -> None:
    torch.manual_seed(5)
    source = create_backbone("resnet18", (3, 4), image_size=64, weights="none", architecture=Architecture(ibn=True))
    state = {f"backbone.{key}": value + 1 for key, value in source.module.state_dict().items()}
    torch.save({"model": {**state, "heads.bnneck.weight": torch.ones(2)}}, tmp_path / "fast-reid.pth")
    loaded = create("resnet18", str(tmp_path / "fast-reid.pth"), ibn=True).module.state_dict()
    assert all(torch.equal(value, state[f"backbone.{key}"]) for key, value in loaded.items())
    with pytest.raises(ModelError, match="IBN"):
        create("resnet18", str(tmp_path / "fast-reid.pth"))


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
