from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reid.data.dataset import Dataset
from reid.data.layout import open_dataset
from reid.train.loop import train
from reid.train.parallel.processes import Processes
from reid.train.recipe import Recipe
from reid.train.run.folder import RunFolder


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(
        backbone="test_resnet",
        weights="none",
        levels=(3, 4),
        embedding_size=16,
        image_size=64,
        vehicles_per_batch=4,
        images_per_vehicle=3,
        epochs=2,
        warmup_epochs=1,
        learning_rate=1e-3,
        held_out=0.3,
    )


@pytest.fixture(scope="session")
def dataset(veri: Path) -> Dataset:
    return open_dataset(veri, needs="train")


@pytest.fixture(scope="session")
def finished(dataset: Dataset, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder. Treat it as read-only."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "finished")
    train(dataset, recipe, run, resume=False, processes=Processes(device=torch.device("cpu")))
    return run.path
