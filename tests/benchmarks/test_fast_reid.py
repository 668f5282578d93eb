from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import fast_reid
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reid.runtime.sessions.session import run

BAGTRICKS = SimpleNamespace(
    MAX_EPOCH=120, STEPS=[40, 90], DELAY_EPOCHS=0, WARMUP_ITERS=2000, FREEZE_ITERS=0, IMS_PER_BATCH=64
)
SBS = SimpleNamespace(
    MAX_EPOCH=60, STEPS=[40, 90], DELAY_EPOCHS=30, WARMUP_ITERS=3000, FREEZE_ITERS=3000, IMS_PER_BATCH=64
)


def options(tmp_path: Path, *words: str) -> list[str]:
    given = ["data", "--fast-reid", str(tmp_path / "clone"), "--output", str(tmp_path / "out")]
    return [*given, *words]


def clone_of(folder: Path, package: str) -> Path:
    """A clone as far as one looks for it, whose package does what it is given."""
    engine = folder / "fastreid" / "engine"
    engine.mkdir(parents=True)
    (folder / "fastreid" / "__init__.py").write_text(package)
    (engine / "defaults.py").touch()
    return folder


def test_a_schedule_at_its_published_budget_stays_as_it_is() -> None:
    for solver, images in ((BAGTRICKS, 12_936), (SBS, 37_778)):
        scaled = fast_reid.scaled_schedule(solver, images, solver.MAX_EPOCH, images // 64)
        assert scaled == {f"SOLVER.{name}": value for name, value in vars(solver).items() if name != "IMS_PER_BATCH"}


def test_epochs_scale_with_epochs_and_iterations_with_iterations() -> None:
    scaled = fast_reid.scaled_schedule(BAGTRICKS, 12_936, 12, 100)
    assert scaled["SOLVER.STEPS"] == [4, 9]
    assert scaled["SOLVER.WARMUP_ITERS"] == round(2000 / (120 * 202) * 12 * 100)
    scaled = fast_reid.scaled_schedule(SBS, 37_778, 8, 50)
    assert scaled["SOLVER.DELAY_EPOCHS"] == 4
    assert scaled["SOLVER.FREEZE_ITERS"] == scaled["SOLVER.WARMUP_ITERS"] == round(3000 / (60 * 590) * 8 * 50)


@pytest.mark.parametrize("epochs", range(2, 12))
def test_however_few_epochs_none_begins_at_a_lower_rate_and_the_cosine_has_one(epochs: int) -> None:
    assert min(fast_reid.scaled_schedule(BAGTRICKS, 12_936, epochs, 10)["SOLVER.STEPS"]) >= 1
    assert fast_reid.scaled_schedule(SBS, 37_778, epochs, 10)["SOLVER.DELAY_EPOCHS"] < epochs


def test_the_budget_reaches_the_settings(tmp_path: Path) -> None:
    words = ["--backbone", "resnet18", "--image-size", "64", "--epochs", "8", "--batch", "8x4"]
    settings = fast_reid.settings(fast_reid.parse(options(tmp_path, *words)))
    assert (settings["MODEL.BACKBONE.DEPTH"], settings["MODEL.BACKBONE.FEAT_DIM"]) == ("18x", 512)
    assert settings["INPUT.SIZE_TRAIN"] == settings["INPUT.SIZE_TEST"] == [64, 64]
    assert (settings["SOLVER.IMS_PER_BATCH"], settings["DATALOADER.NUM_INSTANCE"]) == (32, 4)


def test_the_command_to_repeat_a_run_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    words = ["--weights", str(tmp_path / "start.pth"), "--batch", "8x4", "--learning-rate", "1e-3"]
    command = fast_reid.command(fast_reid.parse(options(tmp_path, *words)))
    assert str(tmp_path) not in command
    assert "--weights start.pth" in command
    assert "--batch 8x4" in command
    assert "--learning-rate 0.001" in command


def test_a_session_gives_the_model_0_to_255_and_normalizes_what_it_returns() -> None:
    class Means(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, images: Tensor) -> Tensor:
            assert images.dtype == torch.float32
            return nn.functional.pad(images.mean((2, 3)) * self.weight, (0, 509))  # a ResNet18 has 512

    session = fast_reid.fast_reid_session(Means(), "1.3", "resnet18", 8)
    frames = np.zeros((2, 3, 8, 8), np.uint8)
    frames[0, 0], frames[0, 1], frames[1, 2] = 30, 40, 255
    embeddings, pooled = run(session, frames, np.ones((1, 2), np.float32))
    np.testing.assert_allclose(embeddings[:, :3], [[0.6, 0.8, 0], [0, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(pooled[:, :3], [[0.6, 0.8, 1]], atol=1e-6)


@pytest.mark.parametrize(("option", "value"), [("--epochs", "1"), ("--batch", "8"), ("--image-size", "big")])
def test_a_wrong_option_is_named(option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        fast_reid.parse(options(tmp_path, option, value))
    assert stopped.value.code == 2
    assert f"argument {option}: {value!r} is not" in capsys.readouterr().err


def test_a_folder_that_is_not_a_clone_ends_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(fast_reid.ReidError, match=r"clone is not a clone of fast-reid: git clone .*") as refused:
        fast_reid.import_fast_reid(tmp_path / "clone")
    assert "\n" not in str(refused.value)


def test_a_missing_package_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "fastreid", raising=False)
    clone = clone_of(tmp_path, "import a_package_that_nobody_has")
    with pytest.raises(fast_reid.ReidError, match=r"needs a_package_that_nobody_has, .*: pip install yacs"):
        fast_reid.import_fast_reid(clone)


def test_main_ends_with_the_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fast_reid.py", *options(tmp_path)])
    with pytest.raises(SystemExit, match="error: data: no such folder"):
        fast_reid.main()


def test_a_model_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model_final.pth").touch()
    with pytest.raises(fast_reid.ReidError, match="holds a model or is a file; choose another --output"):
        fast_reid.prepare_output(tmp_path)
