from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reid.runtime.errors import ModelError
from reid.train.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint


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


def test_run_folder_weights_and_card_all_name_the_checkpoint(checkpoint: Path) -> None:
    names = ("", CHECKPOINT_FILE, "checkpoint.json")
    fingerprints = {load_checkpoint(checkpoint / name).card.fingerprint for name in names}
    assert len(fingerprints) == 1


def test_the_fingerprint_follows_weights_levels_and_preprocessing_but_not_the_story(run: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(run)
    original = loaded.card.fingerprint

    def saved(**changes: object) -> str:
        return save_checkpoint(tmp_path, loaded.model, loaded.card.model_copy(update=changes), {}).fingerprint

    assert saved(training={"seed": 5}) == original
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
def test_a_cut_checkpoint_is_refused_in_one_line(run: Path, keep: int) -> None:
    path = run / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=CHECKPOINT_FILE) as raised:
        load_checkpoint(run)
    assert "\n" not in str(raised.value)


def test_weights_that_do_not_fit_their_card_are_refused(run: Path) -> None:
    from safetensors import safe_open

    path = run / CHECKPOINT_FILE
    with safe_open(path, "pt") as stored:
        metadata = stored.metadata()
    tensors = load_file(path)
    del tensors["model.heads.1.bias"]
    save_file(tensors, path, metadata)
    with pytest.raises(ModelError, match=r"heads\.1\.bias"):
        load_checkpoint(run)


def test_other_safetensors_files_and_empty_folders_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=CHECKPOINT_FILE):
        load_checkpoint(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(ModelError, match="no model card"):
        load_checkpoint(tmp_path)
