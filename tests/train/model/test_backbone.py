from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from reid.runtime.errors import ModelError, ReidError
from reid.train.model import backbone as module
from reid.train.model.backbone import Backbone, create_backbone


def load(weights: Path | str, name: str = "resnet10t") -> Backbone:
    return create_backbone(name, (3, 4), image_size=64, weights=str(weights))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return timm.create_model("resnet10t", num_classes=17).state_dict()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_local_file_is_what_the_backbone_starts_from(
    state: dict[str, torch.Tensor], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = load(path).module.state_dict()
    assert loaded
    for key, value in loaded.items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("damage", ["missing", "unexpected", "misshapen"])
def test_a_key_that_does_not_fit_is_an_error_that_names_it(
    state: dict[str, torch.Tensor], tmp_path: Path, damage: str
) -> None:
    changed = dict(state)
    if damage == "missing":
        del changed["layer2.0.bn1.bias"]
    elif damage == "unexpected":
        changed["layer2.0.bn1.bias.old"] = torch.zeros(1)
    else:
        changed["layer2.0.bn1.bias"] = torch.zeros(3)
    torch.save(changed, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match=r"1 .*layer2\.0\.bn1\.bias") as raised:
        load(tmp_path / "weights.pth")
    assert "\n" not in str(raised.value)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"conv1.weight": Payload()}))
    with pytest.raises(ModelError, match="not a readable file"):
        load(tmp_path / "weights.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x00" * 100])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError) as raised:
        load(path)
    assert "\n" not in str(raised.value)


def test_unknown_names_come_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="resnet10t"):
        load("none", name="esnet10t")
    with pytest.raises(ModelError, match="levels are 0 to 4"):
        create_backbone("resnet10t", (2, 5), image_size=64, weights="none")
    with pytest.raises(ModelError, match="must be different and ascending"):
        create_backbone("resnet10t", (4, 2), image_size=64, weights="none")
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "absent.pth")


def test_without_network_pretrained_weights_end_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("Name or service not known\nsecond line")

    monkeypatch.setattr(module.timm, "create_model", refuse)
    with pytest.raises(ReidError, match="--weights PATH") as raised:
        load("default")
    assert "\n" not in str(raised.value)
