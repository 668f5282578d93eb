from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from reid.runtime.errors import ReidError
from reid.train.data.images import loader_workers
from reid.train.parallel.processes import Processes, joined_processes

from .share_of_a_step import take_steps

SCRIPT = Path(__file__).with_name("share_of_a_step.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return int(listener.getsockname()[1])


MODELS = {
    "resnet": "backbone=resnet10t;levels=3,4",
    "efficientnet": "backbone=efficientnet_lite0;levels=3,4;bnneck=true;memory_size=6;clip_norm=1",
}


def take_steps_together(count: int, output: Path) -> None:
    """Take the steps of all models with some processes, each of which writes a file for each model."""
    together = {"WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    program = [sys.executable, str(SCRIPT), str(output), *MODELS.values()]
    subprocess.run(program, env={**ENVIRONMENT, **together}, check=True, timeout=120)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The steps of one process in `1`, and of two in `2`."""
    folder = tmp_path_factory.mktemp("steps")
    for count in (1, 2):
        (folder / str(count)).mkdir()
    take_steps(folder / "1", MODELS.values(), Processes())
    take_steps_together(2, folder / "2")
    return folder


@pytest.mark.parametrize("model", MODELS)
def test_two_processes_learn_what_one_does(steps: Path, model: str) -> None:
    """Batch normalization, pairs of images and clipping all span both processes' frames."""
    number = [*MODELS].index(model)
    alone = load_file(steps / "1" / f"{number}-0.safetensors")
    pair = [load_file(steps / "2" / f"{number}-{rank}.safetensors") for rank in range(2)]
    for of_rank in pair:
        assert of_rank.keys() == alone.keys()
        for name, value in alone.items():
            largest = float(value.abs().max())
            torch.testing.assert_close(of_rank[name], value, rtol=0, atol=1e-4 * largest + 1e-9, msg=name)
    assert all(torch.equal(pair[0][name], pair[1][name]) for name in alone)


def test_a_batch_that_cannot_be_divided_evenly_is_refused() -> None:
    with pytest.raises(ReidError, match=r"64 frames cannot be divided evenly among 3 processes"):
        Processes(0, 3, torch.device("cpu")).check_batch(64)


TOGETHER = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE is 'abc': set it to an integer from 1 to"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0': "),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE is '-2': "),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE is '9999"),
        ({"RANK": "2"}, "RANK is '2': set it to an integer from 0 to 1, or unset it"),
        ({"RANK": "1.0"}, "RANK is '1.0': "),
        ({"RANK": ""}, "WORLD_SIZE is 2, and RANK is not set; start with torchrun"),
        ({"MASTER_ADDR": ""}, "WORLD_SIZE is 2, and MASTER_ADDR is not set"),
        ({"MASTER_PORT": "65536"}, "MASTER_PORT is '65536': set it to an integer from 1 to 65535"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK is 'x': set it to an integer from 0 to 1"),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK is '1': set it to an integer from 0 to 0"),
        ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE is '0': set it to an integer from 1 to"),
        ({"WORLD_SIZE": "", "LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE is '0': set it to an integer from 1 to"),
    ],
)
def test_an_environment_that_torchrun_does_not_make_is_one_line(
    change: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**TOGETHER, **change}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ReidError) as raised, joined_processes():
        pytest.fail("joined")
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)


def test_nccl_is_told_the_gpu_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**TOGETHER, "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    joined: list[tuple[str, torch.device]] = []
    monkeypatch.setattr(
        dist, "init_process_group", lambda backend, *, timeout, device_id: joined.append((backend, device_id))
    )
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with joined_processes() as processes:
        assert joined == [("nccl", torch.device("cuda", 1))]
        assert processes.device == torch.device("cuda", 1)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1e9"])
def test_the_loader_does_not_take_a_number_of_processes_that_makes_no_sense(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", value)
    with pytest.raises(ReidError, match="LOCAL_WORLD_SIZE is "):
        loader_workers()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "60000")
    assert loader_workers() == 1


def test_torchrun_writes_one_run(veri: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--levels", "3,4", "--json"]
    options += ["--epochs", "2", "--batch", "4x2"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "reid.commands.train", str(veri), *options, "--output", str(run)]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["epochs"] == 2
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert json.loads((run / "run.json").read_text())["machine"]["processes"] == 2
    assert len(list((run / "tensorboard").iterdir())) == 1
    assert result.stderr.count("epoch 1:") == 1
