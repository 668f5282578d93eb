from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from reid.runtime.errors import ModelError
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import Backbone, create_backbone
from reid.train.model.instance_batch_norm import InstanceBatchNorm, InstanceNormBlock


def create(name: str, weights: str = "none", **parts: object) -> Backbone:
    torch.manual_seed(0)
    return create_backbone(name, (3, 4), image_size=64, weights=weights, architecture=Architecture(**parts))


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
    backbone = create("resnet50", ibn="a").module
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
    state = create("resnet18", ibn="a").module.state_dict()
    halves = [state["layer2.0.bn1.IN.weight"], state["layer2.0.bn1.BN.weight"]]
    assert torch.equal(torch.cat(halves), plain["layer2.0.bn1.weight"])
    assert torch.equal(state["layer2.0.bn1.BN.running_var"], plain["layer2.0.bn1.running_var"][64:])
    assert torch.equal(state["layer4.0.bn1.weight"], plain["layer4.0.bn1.weight"])


def test_files_of_ibn_weights_fit_only_ibn(tmp_path: Path) -> None:
    torch.manual_seed(5)
    source = create_backbone("resnet18", (3, 4), image_size=64, weights="none", architecture=Architecture(ibn="a"))
    state = {f"backbone.{key}": value + 1 for key, value in source.module.state_dict().items()}
    torch.save({"model": {**state, "heads.bnneck.weight": torch.ones(2)}}, tmp_path / "fast-reid.pth")
    loaded = create("resnet18", str(tmp_path / "fast-reid.pth"), ibn="a").module.state_dict()
    assert all(torch.equal(value, state[f"backbone.{key}"]) for key, value in loaded.items())
    with pytest.raises(ModelError, match="IBN"):
        create("resnet18", str(tmp_path / "fast-reid.pth"))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_ibn_b_is_where_its_authors_put_it(name: str) -> None:
    backbone = create(name, ibn="b").module
    found = {path for path, module in backbone.named_modules() if isinstance(module, nn.InstanceNorm2d)}
    last = {"resnet18": (1, 1), "resnet50": (2, 3)}[name]
    assert found == {"bn1", f"layer1.{last[0]}.IN", f"layer2.{last[1]}.IN"}


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "seresnet18"])
def test_ibn_b_normalizes_the_sum_of_a_block_before_the_activation(name: str) -> None:
    plain = timm.create_model(name).layer2[-1].eval()
    activation = "act3" if hasattr(plain, "act3") else "act2"
    sums: list[torch.Tensor] = []
    plain.get_submodule(activation).register_forward_pre_hook(lambda _, inputs: sums.append(inputs[0].clone()))
    width = plain.conv1.in_channels
    feature = torch.randn(2, width, 6, 5)
    with torch.no_grad():
        plain(feature.clone())
        block = InstanceNormBlock(plain).eval()
        block.IN.weight.uniform_(0.5, 2)
        block.IN.bias.uniform_(-1, 1)
        actual = block(feature.clone())
    total = sums[0]
    centered = total - total.mean(dim=(2, 3), keepdim=True)
    scaled = centered / centered.square().mean(dim=(2, 3), keepdim=True).add(1e-5).sqrt()
    expected = (scaled * block.IN.weight[:, None, None] + block.IN.bias[:, None, None]).clamp(min=0)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("kind", ["a", "b"])
def test_a_resnet_with_other_blocks_cannot_become_ibn(kind: str) -> None:
    with pytest.raises(ModelError, match=f"skresnet18 is not a ResNet with.*cannot become IBN-{kind}; use ibn=none"):
        create("skresnet18", ibn=kind)
