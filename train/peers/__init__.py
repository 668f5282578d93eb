"""PyTorch as a peer: what someone runs who has a checkpoint and does not export it.

This module names the peers, for the group "reid.peers", and does not import PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from reid.bench.machine.processor import describe_processor
from reid.bench.meters.tree import Tree
from reid.bench.models import GivenModel
from reid.bench.result import Absent, SubjectPrecision
from reid.bench.subjects import Candidate
from reid.runtime.gpu import find_device
from reid.runtime.installs import how_to_install

__all__ = ["find_torch_peers"]

_OPENER = "reid.train.peers.subject:open_subject"

_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Linux's names of the instructions that multiply it."""


def find_torch_peers(model: GivenModel) -> Iterator[Candidate | Absent]:
    """Name the peers of a checkpoint: half precision is FP16 on a GPU, and BF16 on a CPU that has it."""
    if model.kind != "checkpoint":
        return
    for title, way in (("PyTorch eager", "eager"), ("torch.compile", "compile")):
        for precision in ("fp32", *_half()):
            yield _candidate(f"{title} {precision}", way, precision, model)
    yield from _on_a_gpu("PyTorch CUDA graph fp16", "cuda_graph", model)
    if find_spec("torch_tensorrt"):
        yield from _on_a_gpu("Torch-TensorRT fp16", "tensorrt", model)
    else:
        yield Absent(name="Torch-TensorRT", reason=f"it is not installed: {how_to_install('torch-tensorrt')}")


def _half() -> tuple[SubjectPrecision, ...]:
    """Return the half precision that is faster than FP32 here, if there is one: PyTorch emulates BF16 otherwise."""
    if find_device():
        return ("fp16",)
    return ("bf16",) if _BF16 & set(describe_processor(Tree()).instruction_sets) else ()


def _on_a_gpu(name: str, way: str, model: GivenModel) -> Iterator[Candidate | Absent]:
    if find_device() is None:
        yield Absent(name=name, reason="it needs an NVIDIA GPU")
    else:
        yield _candidate(name, way, "fp16", model)


def _candidate(name: str, way: str, precision: SubjectPrecision, model: GivenModel) -> Candidate:
    return Candidate(name, "peer", precision, model, _OPENER, {"way": way, "precision": precision})
