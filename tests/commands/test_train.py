from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from reid.commands.train import app, main
from reid.train.recipe import RECIPES, Recipe

SMALL = ["--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--epochs", "1", "--batch", "4x2"]


def test_a_run_is_named_after_data_backbone_and_loss(
    veri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [str(veri), *SMALL, "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["run"] == "runs/veri-test_resnet-rll"
    assert printed["best_epoch"] == printed["epochs"] == 1
    assert set(printed["held_out"]) == {"i2i", "i2t", "t2t"}
    assert (tmp_path / "runs" / "latest" / "checkpoint.safetensors").is_file()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--batch", "16"],
        ["--batch", "1x4"],
        ["--levels", "2,x"],
        ["--levels", "2,2"],
        ["--loss", "nonsense"],
        ["--layout", "nonsense"],
        ["--recipe", "nonsense"],
        ["--set", "nonsense=1"],
        ["--set", "epochs=two"],
        ["--set", "pooling=nonsense"],
        ["--set", "epochs"],
        ["--epochs", "2", "--set", "epochs=3"],
        ["--repeat", "runs/latest", "--epochs", "2"],
    ],
)
def test_wrong_usage_is_exit_code_2(veri: Path, wrong: list[str]) -> None:
    assert CliRunner().invoke(app, [str(veri), *wrong]).exit_code == 2


def test_a_data_set_or_a_run_to_repeat_is_needed() -> None:
    result = CliRunner().invoke(app, ["--epochs", "1"])
    assert result.exit_code == 2
    assert "--repeat" in result.output


def test_options_win_over_the_recipe_where_they_are_given(veri: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = [str(veri), "--recipe", "strong", *SMALL, "--set", "weight_decay=0.01", "--output", str(run)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    stored = Recipe.of(json.loads((run / "run.json").read_text())["recipe"])
    assert stored == RECIPES["strong"].changed(
        backbone="test_resnet",
        weights="none",
        image_size=32,
        epochs=1,
        vehicles_per_batch=4,
        images_per_vehicle=2,
        weight_decay=0.01,
    )


@pytest.mark.parametrize("setting", ["clip_norm=-1", "average_decay=1", "memory_size=-1", "color_jitter=2"])
def test_a_number_out_of_range_is_named_before_anything_is_written(
    veri: Path, tmp_path: Path, run_main: Callable[..., tuple[int, str, str]], setting: str
) -> None:
    code, _, errors = run_main(main, "reid-train", veri, *SMALL, "--set", setting, "--output", tmp_path / "run")
    name, _, value = setting.partition("=")
    assert code == 1
    assert f"error: {name} is {value}" in errors
    assert not (tmp_path / "run").exists()


def test_a_run_stopped_before_its_first_state_starts_with_new_settings(veri: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = [str(veri), *SMALL, "--set", "weight_decay=0.1", "--output", str(run)]
    assert CliRunner().invoke(app, first).exit_code == 0
    for path in run.iterdir():  # what a stop in the first epoch leaves
        if path.name != "run.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    second = [word.replace("0.1", "0.2") for word in first]
    assert CliRunner().invoke(app, second).exit_code == 0
    assert json.loads((run / "run.json").read_text())["recipe"]["weight_decay"] == 0.2


@pytest.fixture(scope="module")
def past_run(veri: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and its data in a folder that tests may change back and forth."""
    folder = tmp_path_factory.mktemp("past")
    data = Path(shutil.copytree(veri, folder / "veri"))
    options = [*SMALL, "--levels", "3,4", "--seed", "3", "--set", "clip_norm=2", "--output", str(folder / "run")]
    result = CliRunner().invoke(app, [str(data), *options])
    assert result.exit_code == 0, result.output
    return folder / "run", data


def test_a_repeated_run_has_the_same_weights(
    past_run: tuple[Path, Path], tmp_path: Path, run_main: Callable[..., tuple[int, str, str]]
) -> None:
    run, data = past_run
    moved = data.rename(tmp_path / "moved")
    code, _, errors = run_main(main, "reid-train", moved, "--repeat", run)
    moved.rename(data)
    assert code == 0, errors
    again = run.with_name("run-repeat")
    one, other = (load_file(folder / "checkpoint.safetensors") for folder in (run, again))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert (
        json.loads((again / "run.json").read_text())["recipe"] == json.loads((run / "run.json").read_text())["recipe"]
    )
    assert "may differ slightly" not in errors


def test_a_run_is_not_repeated_with_other_data(
    past_run: tuple[Path, Path], tmp_path: Path, run_main: Callable[..., tuple[int, str, str]]
) -> None:
    run, data = past_run
    image = next(iter((data / "image_train").iterdir()))
    content = image.read_bytes()
    image.write_bytes(content + b"more")
    code, _, errors = run_main(main, "reid-train", "--repeat", run, "--output", tmp_path / "again")
    image.write_bytes(content)
    assert code == 1
    assert "no longer holds that run's training data" in errors
    assert not (tmp_path / "again").exists()


def test_other_versions_are_noted_on_repetition(
    past_run: tuple[Path, Path], tmp_path: Path, run_main: Callable[..., tuple[int, str, str]]
) -> None:
    run, _ = past_run
    old = tmp_path / "old"
    old.mkdir()
    facts = json.loads((run / "run.json").read_text())
    facts["versions"]["torch"] = "1.0"
    (old / "run.json").write_text(json.dumps(facts))
    code, _, errors = run_main(main, "reid-train", "--repeat", old, "--output", tmp_path / "again")
    assert code == 0, errors
    assert f"note: torch was 1.0 and is {torch.__version__}; the weights may differ" in errors


@pytest.mark.parametrize("place", ["veri", "veri/image_train/run", "run", "."])
def test_a_run_is_never_written_over_what_it_reads(
    past_run: tuple[Path, Path], run_main: Callable[..., tuple[int, str, str]], place: str
) -> None:
    run, data = past_run
    (run / "last").rename(run.with_name("last"))  # so that it looks like a run that was stopped early
    folder = data.parent
    before = sorted(folder.rglob("*"))
    for words in ([data, *SMALL, "--weights", run / "checkpoint.safetensors"], ["--repeat", run]):
        code, _, errors = run_main(main, "reid-train", *words, "--output", folder / place)
        assert (code, errors.count("\n")) == (1, 1), errors
        assert "which is an input; choose another place" in errors
    assert sorted(folder.rglob("*")) == before
    run.with_name("last").rename(run / "last")


def test_a_folder_without_a_run_is_not_repeated(tmp_path: Path, run_main: Callable[..., tuple[int, str, str]]) -> None:
    code, _, errors = run_main(main, "reid-train", "--repeat", tmp_path)
    assert (code, errors.count("\n")) == (1, 1)
    assert "not a run that can be repeated" in errors


def test_levels_may_be_named_in_any_order(veri: Path, tmp_path: Path) -> None:
    arguments = [str(veri), *SMALL, "--levels", "4,2", "--output", str(tmp_path / "run")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    card = json.loads((tmp_path / "run" / "checkpoint.json").read_text())
    assert [level["name"] for level in card["levels"]] == ["level2", "level4"]


def test_a_process_that_waits_for_another_ends_when_torchrun_ends_it(veri: Path, tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as silent:
        silent.settimeout(60)
        address, port = silent.getsockname()[:2]
        together = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": address, "MASTER_PORT": str(port)}
        process = subprocess.Popen(
            [sys.executable, "-m", "reid.commands.train", str(veri), *SMALL, "--output", str(tmp_path / "run")],
            env={**os.environ, **together, "CUDA_VISIBLE_DEVICES": ""},
        )
        connection, _ = silent.accept()  # what answers nothing is waited for
        process.terminate()
        try:
            assert process.wait(timeout=30) == -signal.SIGTERM
        finally:
            process.kill()
            connection.close()
