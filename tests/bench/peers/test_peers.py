"""Peers embed as PyTorch did when the bundle was exported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from reid.bench.models import Frames, frames_of, read_model
from reid.bench.peers import find, onnxruntime
from reid.bench.peers.find import find_peers
from reid.bench.result import Absent
from reid.bench.subjects import Candidate
from reid.runtime.errors import SessionError
from reid.runtime.sessions.onnxruntime_providers import Provider
from reid.train.peers import find_torch_peers


@pytest.fixture(autouse=True)
def torch_as_before() -> Iterator[None]:
    """A peer sets PyTorch for its whole process, which is this one here."""
    if not find_spec("torch"):
        yield
        return
    torch = import_module("torch")
    threads, tries = torch.get_num_threads(), torch.backends.cudnn.benchmark
    yield
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = tries


@pytest.fixture(scope="module")
def frames(bundle: Path) -> Frames:
    return frames_of(read_model(bundle), 5)


def similarity(found: NDArray[np.float32], frames: Frames) -> float:
    """The smallest cosine similarity to PyTorch's embeddings, which have length 1."""
    assert found.dtype == np.float32
    assert frames.expected is not None
    lengths = np.linalg.norm(found.astype(np.float64), axis=1)
    return float(((found * frames.expected).sum(axis=1) / lengths).min())


def embed(candidate: Candidate, frames: Frames) -> NDArray[np.float32]:
    """Open a peer as its process does, and embed in batches of two sizes."""
    module, _, function = candidate.opener.partition(":")
    request = {"model": str(candidate.model.path), "threads": 1, "most_frames": 8, **candidate.request}
    subject = getattr(import_module(module), function)(request)
    assert subject.facts.keys() == {"backend", "device", "precision"}
    assert len(frames.pixels) <= subject.most_frames
    parts = [subject.embed(part) for part in (frames.pixels[:1], frames.pixels[1:])]
    subject.close()
    return np.concatenate(parts)


def of_kind(found: list[Candidate], name: str) -> Candidate:
    return next(one for one in found if one.name == name)


def test_libraries_as_users_run_them_embed_a_bundle(bundle: Path, frames: Frames) -> None:
    pytest.importorskip("openvino")
    candidates, _ = find_peers([read_model(bundle)])
    exact = of_kind(candidates, "ONNX Runtime defaults fp32")
    assert similarity(embed(exact, frames), frames) > 0.99999
    assert similarity(embed(of_kind(candidates, "OpenVINO defaults fp32"), frames), frames) > 0.999  # may be in BF16


def test_a_fall_back_to_the_cpu_is_no_result_of_a_gpu(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `find_provider` says can start may still fail, of which ONNX Runtime prints a warning, and goes on."""
    gpu = Provider("CUDAExecutionProvider", "update the driver", 0)
    monkeypatch.setattr(onnxruntime, "find_provider", lambda device: gpu)
    monkeypatch.setattr(onnxruntime._onnxruntime, "InferenceSession", FallenBack)
    with pytest.raises(SessionError, match="fell back from CUDAExecutionProvider to the CPU: update the driver"):
        onnxruntime.open_subject({"model": str(bundle), "precision": "fp32", "threads": 1})


class FallenBack:
    def __init__(self, graph: str, options: object, providers: list[str]) -> None:
        assert providers == ["CUDAExecutionProvider"]

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_peers_take_the_largest_batch_that_is_asked_for(bundle: Path) -> None:
    subject = onnxruntime.open_subject({"model": str(bundle), "precision": "fp32", "threads": 1, "most_frames": 64})
    assert subject.most_frames == 64


@pytest.mark.torch
@pytest.mark.parametrize("way", ["compile", "tensorrt"])
def test_what_is_compiled_is_compiled_for_each_size(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torch._dynamo import config

    from reid.train.peers import subject

    sizes: list[int] = []

    def backend(graph: torch.fx.GraphModule, examples: list[torch.Tensor]) -> torch.fx.GraphModule:
        sizes.append(len(examples[0]))
        return graph

    compiled = torch.compile
    monkeypatch.setattr(subject, "best_device", lambda: torch.device("cpu"))
    monkeypatch.setitem(sys.modules, "torch_tensorrt", ModuleType("torch_tensorrt"))
    monkeypatch.setattr(
        torch, "compile", lambda model, **named: compiled(model, backend=backend, dynamic=named["dynamic"])
    )
    with config.patch(recompile_limit=8, fail_on_recompile_limit_hit=False):
        forward = subject._WAYS[way](torch.nn.ReLU())
        for size in range(1, 12):
            forward(torch.ones(size, 3))
    assert sizes == [*range(1, 12)]


@pytest.mark.torch
def test_pytorch_has_no_device_memory_on_a_cpu() -> None:
    import torch

    from reid.train.peers.subject import TorchPeer

    peer = TorchPeer(lambda frames: frames, torch.device("cpu"), "fp32", 8)
    assert peer.device_memory_mib() is None
    assert peer.most_frames == 8


@pytest.mark.torch
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99999), ("bf16", 0.999)])
def test_pytorch_embeds_a_checkpoint(checkpoint: Path, frames: Frames, precision: str, least: float) -> None:
    request = {"way": "eager", "precision": precision}
    peer = Candidate(
        "PyTorch", "peer", "fp32", read_model(checkpoint), "reid.train.peers.subject:open_subject", request
    )
    found = embed(peer, frames)
    assert similarity(found, frames) > least
    assert (precision == "fp32") == (similarity(found, frames) > 0.9999999)  # it did compute in BF16


@pytest.mark.gpu
@pytest.mark.torch
def test_every_way_of_pytorch_embeds_on_a_gpu(checkpoint: Path, frames: Frames) -> None:
    for peer in find_torch_peers(read_model(checkpoint)):
        if isinstance(peer, Candidate):
            assert similarity(embed(peer, frames), frames) > 0.999, peer.name


def test_each_model_has_the_peers_that_can_run_it(
    bundle: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "find_trtexec", lambda: None)
    monkeypatch.setattr(find, "_providers", lambda: (find._onnxruntime, find._trtexec, find_torch_peers))
    alone, absent = find_peers([read_model(bundle)])
    assert [one.name for one in alone] == ["ONNX Runtime defaults fp32"]
    assert [one.name for one in absent] == ["trtexec", "PyTorch"]  # and why each is

    both, absent = find_peers([read_model(bundle), read_model(checkpoint)])
    assert of_kind(both, "PyTorch eager fp32").model.path == checkpoint
    assert of_kind(both, "torch.compile fp32").kind == "peer"
    assert "PyTorch" not in [one.name for one in absent]
    assert len({one.name for one in both}) == len(both)

    twice, _ = find_peers([read_model(bundle), read_model(bundle)])
    assert twice[0].name == f"ONNX Runtime defaults fp32 of {bundle.name}"


def test_pytorch_comes_first_for_speeds_are_compared_with_it(bundle: Path, checkpoint: Path) -> None:
    candidates, _ = find_peers([read_model(bundle), read_model(checkpoint)])
    assert candidates[0].name == "PyTorch eager fp32"
    assert {one.model.kind for one in candidates} == {"bundle", "checkpoint"}


def test_what_needs_a_gpu_or_a_package_is_absent_with_the_reason(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid.train.peers.find_device", lambda: None)
    monkeypatch.setattr("reid.train.peers.find_spec", lambda name: None)
    absent = {one.name: one.reason for one in find_torch_peers(read_model(checkpoint)) if isinstance(one, Absent)}
    assert "NVIDIA GPU" in absent["PyTorch CUDA graph fp16"]
    assert "pip install torch-tensorrt" in absent["Torch-TensorRT"]
