from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from reid.data.dataset import Dataset
from reid.data.layout import open_dataset
from reid.train.aggregation import weigh_levels
from reid.train.loop import train
from reid.train.model.checkpoint import load_checkpoint
from reid.train.recipe import RECIPES
from reid.train.run.folder import RunFolder
from reid.train.training_data import prepare_data

RECIPE = RECIPES["strong"].changed(
    backbone="test_resnet",
    weights="none",
    levels=(3, 4),
    embedding_size=16,
    image_size=32,
    vehicles_per_batch=3,
    images_per_vehicle=3,
    held_out=0.5,
    epochs=2,
)


@pytest.fixture(scope="module")
def dataset(veri: Path) -> Dataset:
    return open_dataset(veri, needs="train")


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = RunFolder(tmp_path_factory.mktemp("runs") / "strong")
    train(dataset, RECIPE, run, resume=False)
    return run.path


def test_strong_stores_the_weights_of_its_levels_with_the_model(run: Path) -> None:
    card, model = load_checkpoint(run).card, load_checkpoint(run).model
    weights = [level.weight for level in card.levels]
    assert max(weights) == 1
    assert min(weights) < 1
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8))
    with torch.no_grad():
        parts = np.split(model(frames).numpy(), 2, axis=1)
    lengths = [np.linalg.norm(part, axis=1) for part in parts]
    np.testing.assert_allclose(lengths[0] / lengths[1], weights[0] / weights[1], rtol=1e-4)


def test_a_run_that_is_resumed_after_this_step_keeps_them(run: Path, dataset: Dataset, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    before = load_checkpoint(run).card
    weigh_levels(tmp_path / "run", prepare_data(dataset, RECIPE), torch.device("cpu"))
    assert load_checkpoint(tmp_path / "run").card == before
    assert train(dataset, RECIPE, RunFolder(tmp_path / "run"), resume=True).card == before


def test_the_losses_of_a_level_count_as_much_as_the_level_was_worth_after_the_epoch_before(run: Path) -> None:
    first, second = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    assert min(first["level_worth"].values()) < 1
    for worth, found in (({"level3": 1, "level4": 1}, first["train"]), (first["level_worth"], second["train"])):
        losses = {name: 4 * found[f"{name}/metric"] + found[f"{name}/identity"] for name in worth}
        assert found["loss"] == pytest.approx(sum(worth[name] * loss for name, loss in losses.items()), rel=1e-5)


class Stop:
    """A Progress that interrupts a run in the first step of its second epoch."""

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        self.left = total // 2 + 1

    def advance(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_run_that_is_resumed_goes_on_with_the_same_losses(run: Path, dataset: Dataset, tmp_path: Path) -> None:
    stopped = RunFolder(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        train(dataset, RECIPE, stopped, resume=False, progress=Stop())
    assert len((stopped.path / "metrics.jsonl").read_text().splitlines()) == 1
    again = train(dataset, RECIPE, stopped, resume=True).card
    assert again.fingerprint == load_checkpoint(run).card.fingerprint


def test_levels_count_alike_where_that_is_asked_for_or_no_vehicles_are_held_out(
    dataset: Dataset, tmp_path: Path
) -> None:
    for name, settings in {"equal": {"aggregation": "equal"}, "all": {"held_out": 0.0}}.items():
        run = RunFolder(tmp_path / name)
        card = train(dataset, RECIPE.changed(**settings), run, resume=False).card
        assert [level.weight for level in card.levels] == [1, 1]
