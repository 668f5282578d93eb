"""The peers of the given models: which may work here, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TypeAlias

from reid.bench.models import GivenModel
from reid.bench.peers.trtexec import find_trtexec
from reid.bench.result import Absent
from reid.bench.subjects import Candidate
from reid.runtime.gpu import find_device
from reid.runtime.installs import how_to_install
from reid.runtime.precision import Precision

__all__ = ["PeerProvider", "find_peers"]

PeerProvider: TypeAlias = Callable[[GivenModel], Iterable[Candidate | Absent]]
"""Names the peers of a model. The entry points of the group "reid.peers" are such functions, which import no library
that is slow to load: they are called in the process of the benchmark, which measures nothing itself."""

_GROUP = "reid.peers"


def find_peers(models: Sequence[GivenModel]) -> tuple[list[Candidate], list[Absent]]:
    """Return the peers that may work here, and the absent ones with what would mend it.

    Whether a peer works, only opening it tells.
    """
    several = sum(model.kind != "checkpoint" for model in models) > 1
    found = [peer for model in models for provider in _providers() for peer in provider(model)]
    candidates = [_named(peer, several=several) for peer in found if isinstance(peer, Candidate)]
    # Speeds are compared with the first peer, and a checkpoint is what everyone begins with.
    candidates.sort(key=lambda one: one.model.kind != "checkpoint")
    absent = {peer.name: peer for peer in found if isinstance(peer, Absent)}
    if not any(model.kind == "checkpoint" for model in models):
        remedy = "name the run that the model was exported from as well: reid-bench BUNDLE RUN"
        absent["PyTorch"] = Absent(name="PyTorch", reason=f"it runs checkpoints, and none was given; {remedy}")
    return candidates, list(absent.values())


def _providers() -> Iterator[PeerProvider]:
    for point in sorted(entry_points(group=_GROUP)):
        yield point.load()
    yield from (_onnxruntime, _openvino, _trtexec)


def _named(peer: Candidate, *, several: bool) -> Candidate:
    more = several and peer.model.kind != "checkpoint"
    return replace(peer, name=f"{peer.name} of {peer.model.path.name}") if more else peer


def _onnxruntime(model: GivenModel) -> Iterator[Candidate]:
    yield from _of_graphs("ONNX Runtime defaults", "reid.bench.peers.onnxruntime:open_subject", model, _plain(model))


def _openvino(model: GivenModel) -> Iterator[Candidate | Absent]:
    if find_spec("openvino"):
        yield from _of_graphs("OpenVINO defaults", "reid.bench.peers.openvino:open_subject", model, _plain(model))
    else:
        reason = f"openvino is not installed: {how_to_install('openvino')}"
        yield Absent(name="OpenVINO defaults", reason=reason)


def _trtexec(model: GivenModel) -> Iterator[Candidate | Absent]:
    program = find_trtexec()
    if program is None:
        yield Absent(name="trtexec", reason="it is not on the PATH; it comes with TensorRT's archive, not with pip")
    elif find_device() is None:
        yield Absent(name="trtexec", reason="it needs an NVIDIA GPU")
    else:
        for peer in _of_graphs("trtexec", "reid.bench.peers.trtexec_subject:open_subject", model, model.precisions):
            yield replace(peer, request={**peer.request, "program": str(program)}, apart=True)


def _plain(model: GivenModel) -> tuple[Precision, ...]:
    """Return the precision that somebody has who exports a model himself: FP32, where there is such a graph."""
    return ("fp32",) if "fp32" in model.precisions else model.precisions


def _of_graphs(name: str, opener: str, model: GivenModel, precisions: Sequence[Precision]) -> Iterator[Candidate]:
    for precision in precisions if model.kind != "checkpoint" else ():
        yield Candidate(f"{name} {precision}", "peer", precision, model, opener, {"precision": precision})
