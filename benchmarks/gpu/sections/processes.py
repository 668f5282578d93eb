"""Training in two processes: NCCL's calls with one process, and two processes on one GPU through gloo beside one.

NCCL refuses two processes on a GPU, so its calls are tried with one, and the arithmetic with gloo.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from proving import Proof, prove
from safetensors.torch import load_file
from torch import Tensor

_ROOT = Path(__file__).parents[3]
_STEPS = _ROOT / "tests" / "train" / "parallel" / "share_of_a_step.py"

_NCCL = """
import torch, torch.distributed as dist
torch.cuda.set_device(0)
dist.init_process_group("nccl")
x = torch.arange(6.0, device="cuda", dtype=torch.bfloat16).view(2, 3)
parts, total = [torch.empty_like(x)], torch.ones(5, device="cuda")
box, gathered = [{"a": 1}], [None]
dist.all_gather(parts, x)
dist.all_reduce(total)
dist.broadcast_object_list(box, src=0)
dist.all_gather_object(gathered, "x")
assert torch.equal(parts[0], x) and total.sum() == 5 and box[0] == {"a": 1} and gathered == ["x"]
dist.destroy_process_group()
"""

_THROUGH_GLOO = """
import runpy, sys, torch.distributed as dist
joined = dist.init_process_group
dist.init_process_group = lambda backend, timeout, **settings: joined("gloo", timeout=timeout)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

_MODELS = {"precision=fp32": True, "precision=fp32;micro_batch=2;bnneck=true;clip_norm=1": False}
"""Settings, and whether one process gives the same: with micro batches, its parts are of other frames."""


def processes(proof: Proof) -> None:
    """Try NCCL, then hold two processes to one."""
    proof.attempt("NCCL", _nccl, proof)
    proof.attempt("gloo", _gloo, proof)


def _nccl(proof: Proof) -> None:
    proof.needs_gpu()
    command = [sys.executable, "-c", _NCCL]
    ended = subprocess.run(command, env=_environment(0, 1, _port()), capture_output=True, text=True, timeout=60)
    proof.check("NCCL's calls give what they should", ended.returncode == 0, ended.stderr[-400:])


def _gloo(proof: Proof) -> None:
    one, two = (_steps(proof, count) for count in (1, 2))
    for index, (settings, as_one) in enumerate(_MODELS.items()):
        (alone,), pair = one[index], two[index]
        equal = all(torch.equal(pair[0][name], pair[1][name]) for name in alone)
        proof.check(f"both processes have the same, {settings}", equal)
        if as_one:
            worst = max(_difference(pair[0][name], alone[name]) for name in alone)
            proof.check(f"two processes give what one gives, {settings}", worst < 1e-3, worst)


def _steps(proof: Proof, count: int) -> list[list[Mapping[str, Tensor]]]:
    """Return what each process of each model has after two steps."""
    folder, port = proof.work / f"steps-{count}", _port()
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", _THROUGH_GLOO, str(_STEPS), str(folder), *_MODELS]
    started = [
        subprocess.Popen(command, env=_environment(rank, count, port), stderr=subprocess.PIPE, text=True)
        for rank in range(count)
    ]
    errors = [process.communicate(timeout=120)[1] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(" | ".join(error[-400:] for error in errors))
    return [[load_file(folder / f"{n}-{rank}.safetensors") for rank in range(count)] for n in range(len(_MODELS))]


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    joined = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": 0, "MASTER_PORT": port, "LOCAL_WORLD_SIZE": 1}
    return {**os.environ, "MASTER_ADDR": "localhost", **{name: str(value) for name, value in joined.items()}}


def _port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def _difference(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).abs().max() / (expected.double().abs().max() + 1e-12))


if __name__ == "__main__":
    prove(processes)
