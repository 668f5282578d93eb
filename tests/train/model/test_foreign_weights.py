from __future__ import annotations

import argparse
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from command_line import Run, assert_one_line_of_error
from safetensors.torch import save_file
from torch import Tensor, nn

from reid.commands.train import main
from reid.runtime.errors import ModelError
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import Backbone, create_backbone
from reid.train.model.checkpoint import load_checkpoint
from reid.train.model.foreign_weights import load_weights

STAGES = ("layer1", "layer2", "layer3", "layer4")


class FastReID(nn.Module):
    """The tensors that fast-reid's `Baseline` registers, before version 1.3."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.zeros(1, 3, 1, 1))
        self.backbone = backbone
        self.heads = nn.ModuleDict({"bottleneck": nn.Sequential(nn.BatchNorm2d(512))})
        self.heads.register_parameter("weight", nn.Parameter(torch.zeros(7, 512)))


class Lightning(nn.Module):
    """A LightningModule's usual attribute."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def network(name: str = "resnet18", **parts: nn.Module) -> nn.Module:
    """torchvision's network with normalization that is not the identity; `parts` replace its own or are added."""
    torch.manual_seed(1)
    model: nn.Module = getattr(torchvision.models, name)(num_classes=5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1)
    for part, replacement in parts.items():
        setattr(model, part, replacement)
    return model.eval()


def training_state(model: nn.Module) -> dict[str, Any]:
    """Entries that trainers store beside the weights."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
    return {"epoch": 3, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}


def fast_reid(net: nn.Module) -> dict[str, Any]:
    net.fc = nn.Identity()
    model = FastReID(net)
    return {"model": model.state_dict(), **training_state(model), "metric": 71.5}


def torchreid(net: nn.Module) -> dict[str, Any]:
    net.fc, net.classifier = nn.Sequential(nn.Linear(512, 8), nn.BatchNorm1d(8)), nn.Linear(8, 5)
    model = nn.DataParallel(net)
    return {"state_dict": model.state_dict(), "rank1": np.float64(0.5), **training_state(model)}


def lightning(net: nn.Module) -> dict[str, Any]:
    return {"state_dict": Lightning(net).state_dict(), "pytorch-lightning_version": "2.0", "hyper_parameters": {}}


FORMS: dict[str, tuple[Callable[[nn.Module], dict[str, Any]], str, str, set[str]]] = {
    # form: (content of the file, trainer, prefix, parts left out)
    "bare": (lambda net: net.state_dict(), "timm or torchvision", "", {"fc"}),
    "torchvision's script": (
        lambda net: {"model": net.state_dict(), "args": argparse.Namespace(lr=0.1)},
        "timm or torchvision",
        "",
        {"fc", "args"},
    ),
    "fast-reid": (
        fast_reid,
        "fast-reid",
        "backbone.",
        {"heads", "pixel_mean", "epoch", "optimizer", "scheduler", "metric"},
    ),
    "torchreid": (
        torchreid,
        "torchreid",
        "module.",
        {"module", "rank1", "epoch", "optimizer", "scheduler"},
    ),
    "Lightning": (lightning, "Lightning", "model.", {"model", "pytorch-lightning_version", "hyper_parameters"}),
    "another": (lambda net: {"net": nn.ModuleDict({"base": net}).state_dict()}, "unknown trainer", "base.", {"base"}),
}


def load(weights: Path, name: str = "resnet18", levels: tuple[int, ...] = (1, 2, 3, 4)) -> Backbone:
    return create_backbone(name, levels, image_size=64, weights=str(weights))


def maps(backbone: Backbone) -> list[Tensor]:
    module: Any = backbone.module.eval()
    with torch.inference_mode():
        maps: list[Tensor] = module.forward_intermediates(
            frames(), indices=list(backbone.indices), intermediates_only=True
        )
    return maps


def torchvision_maps(net: nn.Module) -> list[Tensor]:
    """Outputs of the four stages, as torchvision's own code computes them."""
    outputs: list[Tensor] = []
    for stage in STAGES:
        net.get_submodule(stage).register_forward_hook(lambda module, args, output: outputs.append(output))
    net.fc = nn.Identity()
    with torch.inference_mode():
        net(frames())
    return outputs


def frames() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def assert_same_maps(backbone: Backbone, net: nn.Module) -> None:
    for ours, theirs in zip(maps(backbone), torchvision_maps(net), strict=True):
        assert theirs.std() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_every_trainers_backbone_gives_its_own_feature_maps(form: str, tmp_path: Path) -> None:
    content, trainer, prefix, left_out = FORMS[form]
    net = network()
    torch.save(content(net), tmp_path / "weights.pth")
    backbone = load(tmp_path / "weights.pth")
    assert_same_maps(backbone, net)
    origin = backbone.weights_origin
    assert origin is not None
    assert origin.trainer.endswith(trainer)
    assert (origin.prefix, origin.loaded) == (prefix, 120)  # 20 convolutions and normalizations, of 1 and 5 tensors
    assert {name.partition(".")[0] for name in origin.left_out} == left_out


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet101"])
def test_the_deeper_networks_of_torchvision_fit_too(name: str, tmp_path: Path) -> None:
    net = network(name)
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    assert_same_maps(load(tmp_path / "weights.pth", name), net)


def test_the_mapping_is_one_line_that_names_what_was_left_out(tmp_path: Path) -> None:
    torch.save(fast_reid(network()), tmp_path / "weights.pth")
    assert str(load(tmp_path / "weights.pth").weights_origin) == (
        "weights from fast-reid: 120 tensors of the backbone (backbone.* -> *), "
        "left out: pixel_mean, heads (6), epoch, optimizer, scheduler, metric"
    )


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before PyTorch 1.6"])
def test_safetensors_and_both_of_pytorchs_formats(zipped: bool, tmp_path: Path) -> None:
    net = network()
    torch.save(torchreid(net), tmp_path / "model.pth.tar-60", _use_new_zipfile_serialization=zipped)
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    one, other = (load(tmp_path / name).module.state_dict() for name in ("model.pth.tar-60", "weights.safetensors"))
    for key, value in net.state_dict().items():
        if not key.startswith(("fc.", "classifier.")):
            assert torch.equal(one[key], value), key
            assert torch.equal(other[key], value), key


def test_stages_that_no_level_needs_are_left_out(tmp_path: Path) -> None:
    net = network()
    state = {key: value for key, value in net.state_dict().items() if not key.startswith("layer4.1")}
    torch.save(state, tmp_path / "weights.pth")
    origin = load(tmp_path / "weights.pth", levels=(2, 3)).weights_origin
    assert origin is not None
    assert {name.partition(".")[0] for name in origin.left_out} == {"layer4", "fc"}
    with pytest.raises(ModelError, match=r"10 missing \(layer4\.1\.conv1\.weight\)"):
        load(tmp_path / "weights.pth")


def test_old_files_without_batch_counters_are_complete(tmp_path: Path) -> None:
    net = network()
    state = {key: value for key, value in net.state_dict().items() if "num_batches_tracked" not in key}
    torch.save(state, tmp_path / "weights.pth")
    assert_same_maps(load(tmp_path / "weights.pth"), net)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("backbone.layer3.1.bn2.running_var"), r"1 missing \(layer3\.1\.bn2\.running_var\)"),
        (lambda state: state.update({"backbone.layer5.weight": torch.zeros(1)}), r"1 unexpected \(backbone\.layer5"),
        (lambda state: state.update({"conv1.weight": torch.zeros(1)}), r"1 unexpected \(conv1\.weight"),
        (lambda state: state.update({"teacher.conv1.weight": torch.zeros(1)}), r"1 unexpected \(teacher\."),
        (lambda state: state.update({"backbone.bn1.bias": torch.zeros(3)}), r"1 of another shape \(bn1\.bias\)"),
        (lambda state: state.update({"backbone.NL_2.0.g.weight": torch.zeros(1)}), r"non-local blocks .*NL_2\.0\.g"),
        (lambda state: state.update({"backbone.layer1.1.IN.weight": torch.zeros(1)}), r"1 unexpected .*1\.1\.IN"),
        (lambda state: state.update({"backbone.layer1.0.bn1.IN.weight": torch.zeros(1)}), r"1 unexpected .*bn1\.IN"),
        (lambda state: state.update({"backbone.layer1.0.se.fc.0.weight": torch.zeros(1)}), r"squeeze.*se\.fc\.0"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    change: Callable[[dict[str, Tensor]], object], message: str, tmp_path: Path
) -> None:
    content = fast_reid(network())
    change(content["model"])
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match=message) as raised:
        load(tmp_path / "weights.pth")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "name"), [("resnet18d", "resnet18"), ("resnet34", "resnet18"), ("resnet18", "resnet34")]
)
def test_another_network_is_refused(source: str, name: str, tmp_path: Path) -> None:
    torch.save(timm.create_model(source).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ModelError, match="does not fit the backbone"):
        load(tmp_path / "weights.pth", name)


class IBNa(nn.Module):
    """IBN-Net's layer, by its authors' description: the two halves of the channels, normalized apart."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.half = norm.num_features // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(norm.num_features - self.half)

    def forward(self, feature: Tensor) -> Tensor:
        first, second = torch.split(feature, [self.half, feature.shape[1] - self.half], 1)
        return torch.cat([self.IN(first.contiguous()), self.BN(second.contiguous())], 1)


def ibn_network() -> nn.Module:
    """torchvision's network as IBN-a, with normalization that is not the identity."""
    net = network()
    for stage in STAGES[:3]:
        for block in net.get_submodule(stage).children():
            block.bn1 = IBNa(block.bn1)
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0.05, 0.05)
    return net.eval()


@pytest.mark.parametrize("form", ["bare", "fast-reid", "torchreid"])
def test_weights_with_ibn_a_fit_exactly_with_the_setting(form: str, tmp_path: Path) -> None:
    net = ibn_network()
    torch.save(FORMS[form][0](net), tmp_path / "weights.pth")
    architecture = Architecture(ibn="a")
    assert_same_maps(
        create_backbone(
            "resnet18", (1, 2, 3, 4), image_size=64, weights=str(tmp_path / "weights.pth"), architecture=architecture
        ),
        net,
    )


class IBNb(nn.Sequential):
    """A stage's last block in IBN-Net: what it adds up is instance-normalized; all of it is positive afterwards."""

    def __init__(self, block: nn.Module, width: int) -> None:
        super().__init__()
        for name, module in block.named_children():
            self.add_module(name, module)
        self.IN = nn.InstanceNorm2d(width, affine=True)

    def forward(self, feature: Tensor) -> Tensor:
        inner = torch.relu(self.bn1(self.conv1(feature)))
        return torch.relu(self.IN(self.bn2(self.conv2(inner)) + feature))


def ibn_b_network() -> nn.Module:
    """torchvision's ResNet18 as IBN-b, with normalization that is not the identity."""
    net = network()
    net.bn1 = nn.InstanceNorm2d(64, affine=True)
    net.layer1[1], net.layer2[1] = IBNb(net.layer1[1], 64), IBNb(net.layer2[1], 128)  # type: ignore[index, operator]
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0.05, 0.05)
    return net.eval()


@pytest.mark.parametrize("form", ["bare", "fast-reid", "torchreid"])
def test_weights_with_ibn_b_fit_exactly_with_the_setting(form: str, tmp_path: Path) -> None:
    net, weights = ibn_b_network(), tmp_path / "weights.pth"
    torch.save(FORMS[form][0](net), weights)
    levels, architecture = (1, 2, 3, 4), Architecture(ibn="b")
    assert_same_maps(
        create_backbone("resnet18", levels, image_size=64, weights=str(weights), architecture=architecture), net
    )
    with pytest.raises(ModelError, match=r"; use --set ibn=b"):
        load(weights)


@pytest.mark.parametrize("kind", ["a", "b"])
def test_weights_without_ibn_fit_with_the_setting_in_the_error(kind: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.save(network().state_dict(), weights)
    with pytest.raises(ModelError, match=r"; use --set ibn=none"):
        create_backbone("resnet18", (4,), image_size=64, weights=str(weights), architecture=Architecture(ibn=kind))


def test_the_setting_in_the_error_is_the_one_with_which_the_command_ends_well(
    veri: Path, tmp_path: Path, run_main: Run
) -> None:
    torch.save(fast_reid(ibn_network()), tmp_path / "weights.pth")
    options = ["--backbone", "resnet18", "--image-size", 32, "--epochs", 1, "--batch", "4x2"]
    options += ["--weights", tmp_path / "weights.pth", "--output", tmp_path / "run"]
    error = assert_one_line_of_error(*run_main(main, "reid-train", veri, *options))
    setting = re.search(r"; use (--set) (ibn=\w+)", error)
    assert setting is not None, error
    code, _, err = run_main(main, "reid-train", veri, *options, *setting.groups())
    assert code == 0
    assert "weights from fast-reid: 1" in err


def test_ibn_a_of_another_network_is_not_said_to_fit_with_the_setting(tmp_path: Path) -> None:
    torch.save(ibn_network().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ModelError, match=r"does not fit the backbone.*belong to this --backbone"):
        load(tmp_path / "weights.pth", "resnet34")
    with pytest.raises(ModelError, match=r"does not fit the backbone.*belong to this --backbone"):
        load(tmp_path / "weights.pth", "tf_efficientnet_lite0")


def test_the_setting_that_an_error_names_is_the_only_one_that_changes_the_weights() -> None:
    def names(**parts: Any) -> set[str]:  # noqa: ANN401
        made = create_backbone("resnet18", (4,), image_size=64, weights="none", architecture=Architecture(**parts))
        return set(made.module.state_dict())

    others: dict[str, Any] = {"pooling": "gem", "bnneck": True, "last_stride": 1, "ibn": "b"}
    assert others.keys() == Architecture.model_fields.keys()
    assert [name for name, value in others.items() if names(**{name: value}) != names()] == ["ibn"]


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"model": {}}, {"model": {"conv1.weight": 3}}])
def test_a_file_without_a_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match="no plain state dict"):
        load(tmp_path / "weights.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_beside_the_weights_is_named_and_not_executed(zipped: bool, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    content = fast_reid(network()) | {"scheduler": Payload()}
    torch.save(content, tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"mkdir.*if you trust it.*python -c") as raised:
        load(tmp_path / "weights.pth")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "executed").exists()


def test_the_command_in_the_error_extracts_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    torch.save(fast_reid(net) | {"config": tmp_path}, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match="Path") as raised:
        load(tmp_path / "weights.pth")
    monkeypatch.chdir(tmp_path / "..")
    (command,) = str(raised.value).split("python -c ")[1:]
    exec(command.strip('"'), {})
    assert_same_maps(load(Path("weights.pth")), net)


def test_the_replacement_of_numpy_objects_never_becomes_a_weight(tmp_path: Path) -> None:
    content = fast_reid(network())
    content["model"]["backbone.bn1.bias"] = np.float32(1)
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match="no plain state dict"):
        load(tmp_path / "weights.pth")


def test_the_error_for_a_folder_says_what_to_give(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"is a folder.*checkpoint\.safetensors"):
        load(checkpoint)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_file_is_neither_waited_for_nor_read_for_ever(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    os.mkfifo(path)
    with pytest.raises(ModelError, match="a named pipe, not a file; give another file with --weights"):
        load(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="a device, not a file; give another file with --weights"):
        load(path)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelError, match=r"1,099,511,627,776 bytes, more than the [\d,]+ it may have"):
        load(path)


def test_an_archive_that_grows_when_it_is_read_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"model": {"conv1.weight": torch.zeros(1 << 20)}}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    assert (tmp_path / "bomb.pth").stat().st_size < (tmp_path / "plain.pth").stat().st_size / 100
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(ModelError, match="is a compressed archive"):
        load(tmp_path / "bomb.pth")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of PyTorch, about what it no longer wants to have
def test_tensors_that_are_not_plain_numbers_are_refused_in_one_line(tmp_path: Path) -> None:
    state = network().state_dict()
    bias = torch.zeros(64)
    for odd in (
        bias.to_sparse(),
        torch.quantize_per_tensor(bias, 1.0, 0, torch.qint8),
        bias.to(torch.complex64),
        bias.to("meta"),
        torch.nested.nested_tensor([bias]),
    ):
        torch.save({**state, "bn1.bias": odd}, tmp_path / "weights.pth")
        with pytest.raises(ModelError) as raised:
            load(tmp_path / "weights.pth")
        assert "\n" not in str(raised.value)


def test_names_in_a_file_stay_on_a_line_of_bearable_length(tmp_path: Path) -> None:
    for name in ("a\nb", "x" * 100_000, "backbone.NL_1." + "x" * 100_000):
        torch.save({**network().state_dict(), name: torch.zeros(1)}, tmp_path / "weights.pth")
        with pytest.raises(ModelError) as raised:
            load(tmp_path / "weights.pth")
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 1000


def test_entries_whose_names_are_no_text_are_named_by_their_type(tmp_path: Path) -> None:
    key: object = ()
    for _ in range(18):
        key = (key, key)  # written out, a megabyte
    torch.save({"model": network().state_dict(), key: 1, 3: 2}, tmp_path / "weights.pth")
    origin = load(tmp_path / "weights.pth").weights_origin
    assert origin is not None
    assert origin.left_out[-2:] == ("tuple", "int")


def test_damage_anywhere_is_one_line(tmp_path: Path) -> None:
    torch.save({"model": network().state_dict()}, tmp_path / "zip.pth")
    torch.save({"model": network().state_dict()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(network().state_dict(), tmp_path / "weights.safetensors")
    backbone = load(tmp_path / "zip.pth")
    for path in list(tmp_path.iterdir()):
        content = path.read_bytes()
        for cut in (0, 1, 8, 100, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:cut])
            with pytest.raises(ModelError) as raised:
                load_weights(backbone.module, path, unused=set())
            assert "\n" not in str(raised.value), (path.name, cut)


def test_a_run_can_start_from_another_runs_checkpoint(
    checkpoint: Path, veri: Path, tmp_path: Path, run_main: Callable[..., tuple[int, str, str]]
) -> None:
    file = checkpoint / "checkpoint.safetensors"
    source = load_checkpoint(checkpoint).model.backbone.state_dict()
    started = load(file, "test_resnet", (3, 4)).module.state_dict()
    assert started.keys() == source.keys()
    assert all(torch.equal(started[key], source[key]) for key in source)

    options = ["--backbone", "test_resnet", "--levels", "3,4", "--image-size", "32", "--epochs", "1", "--batch", "4x2"]
    run = ["--weights", str(file), "--output", str(tmp_path / "run")]
    code, _, errors = run_main(main, "reid-train", veri, *options, *run)
    assert code == 0, errors
    assert f"weights from reid-train: {len(source)} tensors of the backbone (model.backbone.* -> *)" in errors
