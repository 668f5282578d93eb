from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reid.runtime.errors import ModelError
from reid.runtime.training_facts import TrainingFacts
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import create_backbone
from reid.train.model.checkpoint import CHECKPOINT_FILE, describe, load_checkpoint, save_checkpoint
from reid.train.model.multi_level import MultiLevelReID


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
        Architecture(pooling="max+gem", bnneck=True, last_stride=1, ibn=True),
        Architecture(last_stride=1),
        Architecture(pooling="avg"),
    ],
)
def test_every_architecture_is_rebuilt(architecture: Architecture, checkpoint: Path, tmp_path: Path) -> None:
    model = build(architecture)
    card = save_checkpoint(tmp_path, model, load_checkpoint(checkpoint).card, {})
    second = load_checkpoint(tmp_path)
    assert second.model.architecture == architecture
    frames = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(model(frames), second.model(frames))
    poster = build(Architecture())
    poster.load_state_dict(model.state_dict(), strict=False)
    assert card.fingerprint != save_checkpoint(tmp_path, poster, card, {}).fingerprint


def build(architecture: Architecture) -> MultiLevelReID:
    torch.manual_seed(0)
    backbone = create_backbone("resnet10t", (3, 4), image_size=64, weights="none", architecture=architecture)
    facts = describe(backbone, 16, 64)
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
