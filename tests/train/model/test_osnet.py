from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

from reid.runtime.errors import ReidError
from reid.train.model.backbone import create_backbone
from reid.train.model.osnet import OmniScaleBlock, OSNet

MACS, PARAMETERS = 978_878_352, 2_193_616
"""What torchreid publishes of OSNet x1.0 for 256 x 128 pixels, without a classifier."""


def randomized(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if name.endswith(("bn.weight", "bn.bias", "running_mean", "running_var")):
            tensor.uniform_(0.5, 1.5, generator=generator)
    return module.eval()


def test_size_and_work_are_those_that_its_authors_publish() -> None:
    """Their counter counts a block's gate four times, once for each stream, and the layer of 512 features."""
    net = OSNet().eval()
    counted = {"parameters": 512 * 512 + 3 * 512, "macs": 512 * 512}

    def count(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ANN401
        counted["parameters"] += sum(parameter.numel() for parameter in module.parameters())
        if isinstance(module, nn.Conv2d):
            counted["macs"] += output.numel() * module.weight[0].numel()

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        net(torch.zeros(1, 3, 256, 128))
    assert counted["parameters"] == PARAMETERS
    assert counted["macs"] == pytest.approx(MACS, rel=0.03)  # they count normalization, too
    assert sum(parameter.numel() for parameter in net.parameters()) == 1_905_828


def test_a_block_is_what_the_paper_says() -> None:
    """Written out from the state dict: equations 1 to 4 and figure 4 of the paper."""
    block = randomized(OmniScaleBlock(32, 64))
    state = block.state_dict()
    feature = torch.randn(2, 32, 7, 5)

    def normalized(value: Tensor, name: str) -> Tensor:
        mean, variance = (state[f"{name}.running_{kind}"][:, None, None] for kind in ("mean", "var"))
        scale, shift = (state[f"{name}.{kind}"][:, None, None] for kind in ("weight", "bias"))
        return (value - mean) / (variance + 1e-5).sqrt() * scale + shift

    def pointwise(value: Tensor, name: str) -> Tensor:
        return torch.einsum("oc,nchw->nohw", state[f"{name}.weight"][:, :, 0, 0], value)

    def light(value: Tensor, name: str) -> Tensor:
        padded, weight = F.pad(pointwise(value, f"{name}.conv1"), (1, 1, 1, 1)), state[f"{name}.conv2.weight"]
        height, width = value.shape[2:]
        total = sum(
            weight[:, 0, i, j, None, None] * padded[:, :, i : i + height, j : j + width]
            for i in range(3)
            for j in range(3)
        )
        return normalized(total, f"{name}.bn").clamp(min=0)

    reduced = normalized(pointwise(feature, "conv1.conv"), "conv1.bn").clamp(min=0)
    fused = torch.zeros_like(reduced)
    for depth, stream in enumerate("abcd", start=1):
        value = reduced
        for index in range(depth):
            value = light(value, f"conv2{stream}" + (f".{index}" if depth > 1 else ""))
        mean = value.mean(dim=(2, 3))
        hidden = (mean @ state["gate.fc1.weight"][:, :, 0, 0].T + state["gate.fc1.bias"]).clamp(min=0)
        gate = 1 / (1 + (-(hidden @ state["gate.fc2.weight"][:, :, 0, 0].T + state["gate.fc2.bias"])).exp())
        fused += gate[:, :, None, None] * value
    restored = normalized(pointwise(fused, "conv3.conv"), "conv3.bn")
    shortcut = normalized(pointwise(feature, "downsample.conv"), "downsample.bn")
    with torch.no_grad():
        torch.testing.assert_close(block(feature), (restored + shortcut).clamp(min=0), rtol=1e-4, atol=1e-4)


def test_levels_are_found_by_name_and_cut_off_after_the_last() -> None:
    assert timm.is_model("osnet_x1_0")
    frames = torch.randn(2, 3, 64, 96)
    torch.manual_seed(0)
    whole: Any = OSNet().eval()
    with torch.no_grad():
        expected = whole.forward_intermediates(frames, indices=range(5))
        assert torch.equal(whole(frames), expected[-1])
        for last in range(5):
            torch.manual_seed(0)
            backbone = create_backbone("osnet_x1_0", (last,), image_size=64, weights="none")
            (actual,) = backbone.module.eval().forward_intermediates(frames, indices=[last])
            assert torch.equal(actual, expected[last])
            used = actual.mean() * 0  # nothing that is left goes unused
            assert used == 0
            assert backbone.channels == (actual.shape[1],)
            info = whole.feature_info[last]
            assert (actual.shape[2] * info["reduction"], actual.shape[3] * info["reduction"]) == (64, 96)


def test_every_weight_that_is_left_learns() -> None:
    for last in range(5):
        module: Any = create_backbone("osnet_x1_0", (last,), image_size=64, weights="none").module
        module.forward_intermediates(torch.randn(2, 3, 64, 64), indices=[last])[0].sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())


def test_torchreids_weights_fit_strictly_and_timm_has_none(tmp_path: Path) -> None:
    source = randomized(OSNet())
    head = {
        "fc.0.weight": torch.zeros(512, 512),
        "fc.1.bias": torch.zeros(512),
        "classifier.weight": torch.zeros(9, 512),
    }
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in {**source.state_dict(), **head}.items()}}, tmp_path / "o.pth"
    )
    loaded = create_backbone("osnet_x1_0", (2, 3, 4), image_size=64, weights=str(tmp_path / "o.pth"))
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in loaded.module.state_dict().items())
    assert loaded.weights_origin is not None
    assert loaded.weights_origin.trainer == "torchreid"
    with pytest.raises(
        ReidError, match=r"timm has no pretrained weights of osnet_x1_0; give .* --weights PATH, or --w"
    ):
        create_backbone("osnet_x1_0", (2, 3, 4), image_size=64, weights="default")
