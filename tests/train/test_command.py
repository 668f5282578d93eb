from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reid.train.command import app

SMALL = ["--backbone", "resnet10t", "--weights", "none", "--image-size", "32", "--epochs", "1", "--batch", "4x2"]


def test_a_run_is_named_after_data_backbone_and_loss(
    veri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [str(veri), *SMALL, "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["run"] == "runs/veri-resnet10t-rll"
    assert printed["best_epoch"] == printed["epochs"] == 1
    assert set(printed["held_out"]) == {"i2i", "i2t", "t2t"}
    assert (tmp_path / "runs" / "latest" / "checkpoint.safetensors").is_file()


@pytest.mark.parametrize(
    "wrong", [["--batch", "16"], ["--batch", "1x4"], ["--levels", "2,x"], ["--levels", "2,2"], ["--loss", "circle"]]
)
def test_wrong_usage_is_exit_code_2(veri: Path, wrong: list[str]) -> None:
    assert CliRunner().invoke(app, [str(veri), *wrong]).exit_code == 2


def test_levels_may_be_named_in_any_order(veri: Path, tmp_path: Path) -> None:
    arguments = [str(veri), *SMALL, "--levels", "4,2", "--output", str(tmp_path / "run")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    card = json.loads((tmp_path / "run" / "checkpoint.json").read_text())
    assert [level["name"] for level in card["levels"]] == ["level2", "level4"]
