from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reid.runtime.errors import ModelError
from reid.runtime.model_card import FORMAT_VERSION, ModelCard
from reid.runtime.training_facts import TrainingFacts
from reid.train.model import checkpoint as checkpoint_module
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import Backbone, create_backbone
from reid.train.model.checkpoint import CHECKPOINT_FILE, describe, load_checkpoint, save_checkpoint
from reid.train.model.multi_level import MultiLevelReID
from reid.train.model.quantization import Quantization
from reid.train.tensor_file import hash_tensors


@pytest.fixture
def run(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "run"))


def test_what_is_saved_is_what_is_loaded(checkpoint: Path, tmp_path: Path) -> None:
    first = load_checkpoint(checkpoint)
    card = save_checkpoint(tmp_path, first.model, first.card, first.reference)
    second = load_checkpoint(tmp_path)
    assert second.card == first.card == card
    assert dict(second.reference) == dict(first.reference)
    frames = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(first.model(frames), second.model(frames))


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(pooling="max+gem", bnneck=True, last_stride=1, ibn="a"),
        Architecture(last_stride=1),
        Architecture(pooling="avg"),
    ],
)
def test_every_architecture_is_rebuilt(architecture: Architecture, checkpoint: Path, tmp_path: Path) -> None:
    stored = load_checkpoint(checkpoint).card
    model = build(architecture, stored)
    card = save_checkpoint(tmp_path, model, stored, {})
    second = load_checkpoint(tmp_path)
    assert second.model.architecture == architecture
    frames = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(model(frames), second.model(frames))
    poster = build(Architecture(), stored)
    poster.load_state_dict(model.state_dict(), strict=False)
    assert card.fingerprint != save_checkpoint(tmp_path, poster, card, {}).fingerprint


def build(architecture: Architecture, card: ModelCard) -> MultiLevelReID:
    torch.manual_seed(0)
    backbone = create_backbone("test_resnet", (3, 4), image_size=64, weights="none", architecture=architecture)
    facts = (card.levels, card.preprocessing)
    return MultiLevelReID(backbone.module, backbone.indices, backbone.channels, *facts, architecture).eval()


def rewrite(path: Path, **changes: str | None) -> None:
    """Change the metadata of a checkpoint; None removes an entry."""
    with safe_open(path, "pt") as stored:
        metadata = {**stored.metadata(), **changes}
    save_file(load_file(path), path, {key: value for key, value in metadata.items() if value is not None})


def test_a_checkpoint_without_an_architecture_is_the_posters(run: Path, tmp_path: Path) -> None:
    first = load_checkpoint(run)
    rewrite(run / CHECKPOINT_FILE, architecture=None)
    second = load_checkpoint(run)
    assert second.model.architecture == Architecture()
    assert save_checkpoint(tmp_path, second.model, second.card, {}).fingerprint == first.card.fingerprint


@pytest.mark.parametrize("architecture", ['{"pooling": "max", "hyperbolic": true}', "{", "[]", '{"pooling": "min"}'])
def test_an_architecture_of_a_newer_version_is_refused_in_one_line(run: Path, architecture: str) -> None:
    rewrite(run / CHECKPOINT_FILE, architecture=architecture)
    with pytest.raises(ModelError, match=f"{CHECKPOINT_FILE}.*newer reid") as raised:
        load_checkpoint(run)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("kind", "switch"), [("none", False), ("a", True)])
def test_a_checkpoint_of_reid_0_1_where_ibn_was_a_switch_keeps_its_fingerprint(
    kind: str, switch: bool, checkpoint: Path, tmp_path: Path
) -> None:
    model = build(Architecture(ibn=kind, bnneck=True), load_checkpoint(checkpoint).card)  # type: ignore[arg-type]
    card = save_checkpoint(tmp_path, model, load_checkpoint(checkpoint).card, {})
    former = {"pooling": "max", "bnneck": True, "last_stride": 2, "ibn": switch}
    levels = [{"name": level.name, "size": level.size} for level in card.levels]
    facts = json.dumps([levels, card.preprocessing.model_dump(), former], sort_keys=True)
    digest = hashlib.sha256(facts.encode())
    hash_tensors(digest, model.state_dict())
    assert card.fingerprint == digest.hexdigest()
    rewrite(tmp_path / CHECKPOINT_FILE, architecture=json.dumps(former))
    assert load_checkpoint(tmp_path).model.architecture == model.architecture


def test_run_folder_weights_and_card_all_name_the_checkpoint(checkpoint: Path) -> None:
    names = ("", CHECKPOINT_FILE, "checkpoint.json")
    fingerprints = {load_checkpoint(checkpoint / name).card.fingerprint for name in names}
    assert len(fingerprints) == 1


def test_the_fingerprint_covers_only_weights_levels_and_preprocessing(run: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(run)
    original = loaded.card.fingerprint

    def saved(**changes: object) -> str:
        return save_checkpoint(tmp_path, loaded.model, loaded.card.model_copy(update=changes), {}).fingerprint

    assert saved(training=TrainingFacts(seed=5)) == original
    lighter = [level.model_copy(update={"weight": 0.5}) for level in loaded.card.levels]
    assert saved(levels=tuple(lighter)) != original
    wider = loaded.card.preprocessing.model_copy(update={"width": 65})
    assert saved(preprocessing=wider) != original
    assert saved(levels=tuple(reversed(loaded.card.levels))) != original or len(set(loaded.card.levels)) == 1
    with torch.no_grad():
        loaded.model.heads[0].bias[0] += 1e-6
    assert saved() != original


def test_the_card_beside_the_weights_is_the_same_card(checkpoint: Path) -> None:
    beside = json.loads((checkpoint / "checkpoint.json").read_text())
    assert beside == json.loads(load_checkpoint(checkpoint).card.model_dump_json())


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_checkpoint_is_refused_in_one_line(run: Path, keep: int) -> None:
    path = run / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=CHECKPOINT_FILE) as raised:
        load_checkpoint(run)
    assert "\n" not in str(raised.value)


# What strangers may have put into a checkpoint


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a checkpoint of 0.3 MB, whose model was trained for INT8. Treat it as read-only."""
    run = tmp_path_factory.mktemp("small")
    backbone = create_backbone("test_resnet", (1, 2), image_size=32, weights="none")
    levels, preprocessing = describe(backbone, 8, 32)
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing)
    model.quantization = Quantization({"n": "t"}, {"t": 0.5}, {"n": torch.ones(3)})
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="",
        backbone="test_resnet",
        levels=levels,
        preprocessing=preprocessing,
    )
    save_checkpoint(run, model, card, {"0001.jpg": b"one", "0002.PNG": b""})
    return run


@pytest.fixture
def stranger(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "stranger"))


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as raised:
        load_checkpoint(path)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000
    return str(raised.value)


def with_tensors(run: Path, **changes: torch.Tensor | None) -> None:
    with safe_open(run / CHECKPOINT_FILE, "pt") as stored:
        metadata = stored.metadata()
    tensors = {name: tensor.clone() for name, tensor in load_file(run / CHECKPOINT_FILE).items()}
    tensors = {name: tensor for name, tensor in {**tensors, **changes}.items() if tensor is not None}
    save_file(tensors, run / CHECKPOINT_FILE, metadata)


def test_the_same_checkpoint_has_the_same_bytes(small: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(small)
    for _ in range(10):
        save_checkpoint(tmp_path, loaded.model, loaded.card, loaded.reference)
        assert (tmp_path / CHECKPOINT_FILE).read_bytes() == (small / CHECKPOINT_FILE).read_bytes()


BYTES = torch.zeros(3, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("/etc/cron.d/x.jpg", BYTES, "its name is not that of an image file"),
        ("../x.jpg", BYTES, "its name is not that of an image file"),
        ("a/../../x.jpg", BYTES, "its name is not that of an image file"),
        ("a/x.jpg", BYTES, "its name is not that of an image file"),
        ("a\\x.jpg", BYTES, "its name is not that of an image file"),
        (".x.jpg", BYTES, "its name is not that of an image file"),
        ("..", BYTES, "its name is not that of an image file"),
        ("", BYTES, "its name is not that of an image file"),
        ("x", BYTES, "its name is not that of an image file"),
        ("embeddings.npy", BYTES, "its name is not that of an image file"),
        ("model.json", BYTES, "its name is not that of an image file"),
        ("a\nb.jpg", BYTES, "its name is not that of an image file"),
        ("a\x1b[2J.jpg", BYTES, "its name is not that of an image file"),
        ("a\x00.jpg", BYTES, "its name is not that of an image file"),
        ("a" * 300 + ".jpg", BYTES, "its name is not that of an image file"),
        ("x.jpg", torch.zeros(3), "it does not hold bytes"),
        ("x.jpg", torch.zeros(3, dtype=torch.int8), "it does not hold bytes"),
        ("x.jpg", torch.zeros(3, 1, dtype=torch.uint8), "it does not hold bytes"),
        ("x.jpg", torch.zeros((), dtype=torch.uint8), "it does not hold bytes"),
    ],
)
def test_a_reference_crop_is_bytes_with_the_name_of_an_image(
    stranger: Path, name: str, content: torch.Tensor, reason: str
) -> None:
    with_tensors(stranger, **{f"reference.{name}": content})
    sentence = refusal(stranger)
    assert f"tensor {f'reference.{name}'[:200]!r} is no reference crop ({reason})" in sentence


def card_of(run: Path) -> dict[str, Any]:
    with safe_open(run / CHECKPOINT_FILE, "pt") as stored:
        card: dict[str, Any] = json.loads(stored.metadata()["card"])
    return card


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"levels": [{"name": "level1", "size": 60_000}]}, "there is no place for tensor"),
        ({"levels": [{"name": "level1", "size": 8}, {"name": "level2", "size": 60_000}]}, r"heads\.1\..*\[60000"),
        ({"levels": [{"name": "level1", "size": 2_000_000}]}, r"levels\.0\.size"),
        ({"backbone": "vit_giant_patch14_dinov2"}, "there is no place for|it has no tensor"),
        ({"backbone": "vit_tiny_patch16_224", "image": 4096}, "there is no place for|it has no tensor"),
        ({"backbone": "test_resnet", "image": 1_000_000}, r"preprocessing\.height"),
        ({"backbone": "resnet50.nonsense"}, "timm has no weights of the name 'resnet50.nonsense'"),
        ({"backbone": "nonsense"}, "does not fit its own card: timm has no model 'nonsense'"),
        ({"backbone": "hf-hub:owner/model"}, "timm has no model"),
        ({"levels": [{"name": "level1", "size": 8}, {"name": "level1", "size": 8}]}, "same name"),
        ({"levels": [{"name": "level1", "size": 8}, {"name": "level01", "size": 8}]}, "must be different"),
        ({"levels": [{"name": "level2", "size": 8}, {"name": "level1", "size": 8}]}, "ascending"),
        ({"levels": [{"name": "level9", "size": 8}]}, r"has no level \[9\]"),
        ({"levels": [{"name": "last", "size": 8}]}, r"levels\.0\.name"),
        ({"fingerprint": "0" * 64}, "its weights are not those of its fingerprint"),
    ],
)
def test_what_a_card_claims_is_compared_before_it_is_built(
    stranger: Path, changes: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = card_of(stranger)
    side = changes.pop("image", card["preprocessing"]["height"])
    card |= {"preprocessing": {**card["preprocessing"], "height": side, "width": side}, **changes}
    rewrite(stranger / CHECKPOINT_FILE, card=json.dumps(card))

    def build(name: str, levels: list[int], **options: Any) -> Backbone:  # noqa: ANN401 - passed on
        assert torch.empty(1).device.type == "meta", "memory was allocated"
        return create_backbone(name, levels, **options)

    monkeypatch.setattr(checkpoint_module, "create_backbone", build)
    assert re.search(reason, refusal(stranger))


@pytest.mark.parametrize("name", ["card", "architecture", "quantization"])
@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"x"', "7", "[" * 100_000, f'{{"a": {"9" * 5000}}}', "\x00"])
def test_metadata_that_is_something_else_is_one_line(stranger: Path, name: str, text: str) -> None:
    rewrite(stranger / CHECKPOINT_FILE, **{name: text})
    assert "is not valid" in refusal(stranger)


@pytest.mark.parametrize(
    "text",
    [
        '{"inputs": {"n": "t"}, "scales": {"t": 0}}',
        '{"inputs": {"n": "t"}, "scales": {"t": -1}}',
        '{"inputs": {"n": "t"}, "scales": {"t": NaN}}',
        '{"inputs": {"n": "t"}, "scales": {"t": 1e999}}',
        '{"inputs": {"n": "t"}, "scales": {"t": "x"}}',
        '{"inputs": {"n": 1}, "scales": {"t": 1}}',
        '{"inputs": {"n": "t"}}',
        '{"inputs": {}, "scales": {}}',
        '{"inputs": {"n": "t"}, "scales": {"t": 1, "u": 1}}',
    ],
)
def test_damaged_int8_scales_are_one_line(stranger: Path, text: str) -> None:
    rewrite(stranger / CHECKPOINT_FILE, quantization=text)
    assert "INT8 scales" in refusal(stranger)


@pytest.mark.parametrize(
    "scales",
    [
        torch.tensor([1.0, 0.0]),
        torch.tensor([1.0, -1.0]),
        torch.tensor([torch.nan]),
        torch.ones(2, dtype=torch.float64),
        torch.ones(2, dtype=torch.bool),
        torch.ones(2, 2),
        torch.tensor(1.0),
    ],
)
def test_the_scales_of_weights_are_positive_float32(stranger: Path, scales: torch.Tensor) -> None:
    with_tensors(stranger, **{"quantization.n": scales})
    assert "INT8 scales are not positive numbers" in refusal(stranger)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64, torch.bool, torch.uint8])
def test_weights_of_another_type_are_refused(stranger: Path, dtype: torch.dtype) -> None:
    with_tensors(stranger, **{"model.heads.0.weight": torch.ones(8, 32, dtype=dtype)})
    assert f"tensor 'heads.0.weight' is {dtype} [8, 32], not torch.float32 [8, 32]" in refusal(stranger)


def test_a_flipped_bit_in_the_weights_is_damage(stranger: Path) -> None:
    bias = load_file(stranger / CHECKPOINT_FILE)["model.heads.1.bias"].clone()
    bias.view(torch.uint8)[0] ^= 1
    with_tensors(stranger, **{"model.heads.1.bias": bias})
    assert "its weights are not those of its fingerprint" in refusal(stranger)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / CHECKPOINT_FILE)
    assert "a named pipe, not a file" in refusal(tmp_path)
    (tmp_path / "zero.safetensors").symlink_to("/dev/zero")
    assert "a device, not a file" in refusal(tmp_path / "zero.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    assert "holds no checkpoint.safetensors" in refusal(tmp_path / "folder.safetensors")
    assert "File name too long" in refusal(tmp_path / ("x" * 300))


def test_a_loaded_checkpoint_does_not_depend_on_its_file(stranger: Path) -> None:
    loaded = load_checkpoint(stranger)
    (stranger / CHECKPOINT_FILE).write_bytes(b"")  # what is mapped would be gone
    assert loaded.model.quantization is not None
    assert loaded.model.quantization.weight_scales["n"].tolist() == [1, 1, 1]
    assert all(parameter.isfinite().all() for parameter in loaded.model.parameters())
    assert loaded.reference == {"0001.jpg": b"one", "0002.PNG": b""}


def test_weights_that_do_not_fit_their_card_are_refused(run: Path) -> None:
    path = run / CHECKPOINT_FILE
    with safe_open(path, "pt") as stored:
        metadata = stored.metadata()
    tensors = load_file(path)
    del tensors["model.heads.1.bias"]
    save_file(tensors, path, metadata)
    with pytest.raises(ModelError, match=r"heads\.1\.bias"):
        load_checkpoint(run)


def test_other_safetensors_files_and_empty_folders_are_not_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=CHECKPOINT_FILE):
        load_checkpoint(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(ModelError, match="no model card"):
        load_checkpoint(tmp_path)
