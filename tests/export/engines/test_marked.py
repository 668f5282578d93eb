"""Engines that give tensors of layers are real, built by TensorRT-RTX in every precision; nothing of them is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reid.export.engines.marked as marked
from reid.evaluation.verification.graph_layers import GraphLayers
from reid.evaluation.verification.reference import Crops
from reid.export.engines.build import build_engine
from reid.export.engines.marked import MarkedBuilder, options_of
from reid.export.engines.marking import mark_outputs
from reid.export.engines.options import EngineOptions
from reid.export.engines.trace import SessionTrace
from reid.export.graphs import ExportedGraph
from reid.runtime.bundle import Bundle
from reid.runtime.engine_card import EngineCard, Profile
from reid.runtime.errors import SessionError
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.sessions.engine.session import TensorRTSession
from reid.runtime.sessions.session import SessionInfo
from reid.runtime.tensorrt_api import import_tensorrt, logger_for

STORED = Path(__file__).parents[2] / "stored" / "engine.json"
SMALL = EngineOptions(
    "tensorrt-rtx", profiles=(Profile((1, 4, 8), (1, 2, 8)),), optimization_level=0, compute_capabilities=("8.9",)
)
BETWEEN = ("QuantizeLinear", "DequantizeLinear")


def asked_of(graph: Path) -> list[str]:
    return [layer.tensor for layer in GraphLayers(graph).layers.values() if layer.op not in BETWEEN]


@pytest.mark.rtx
@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_engine_of_every_precision_gives_all_of_its_layers(
    precision: Precision, whole_bundle: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(whole_bundle)
    graph = bundle.graph(precision)
    sidecar = build_engine(ExportedGraph(graph), tmp_path / "engines", bundle.card, SMALL)
    tensors = asked_of(graph.path)
    steps = Steps()
    builder = MarkedBuilder(sidecar, bundle.card, graph.path, tmp_path, progress=steps)
    plan = builder.build(tensors)
    assert len(plan) > sidecar.engine_bytes  # other kernels, where no two layers are one
    assert steps.stages == [f"building {precision} engine that gives {len(tensors)} tensors more"]
    assert os.listdir(tmp_path) == ["engines"]


@pytest.mark.rtx
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_tensor_of_the_graph_is_in_the_network_by_its_name(precision: Precision, whole_bundle: Path) -> None:
    api = import_tensorrt("tensorrt-rtx")
    logger = logger_for(api, lambda is_error, message: None)
    builder = api.Builder(logger)
    network = builder.create_network(0)
    graph = Bundle.open(whole_bundle).graph(precision).path
    parser = api.OnnxParser(network, logger)
    assert parser.parse_from_file(str(graph))
    tensors = asked_of(graph)
    assert len(tensors) > 50
    mark_outputs(network, [*tensors, "absent"])
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    assert sorted(output.name for output in outputs) == sorted(tensors)
    assert {output.dtype.name for output in outputs} <= {"FLOAT", "HALF"}


class Steps:
    def __init__(self) -> None:
        self.stages: list[str] = []

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        self.stages.append(stage)

    def advance(self, steps: int = 1) -> None:
        pass


def sidecar_for(options: EngineOptions) -> EngineCard:
    return EngineCard.read(STORED).model_copy(
        update={
            "flavor": options.flavor,
            "profiles": options.profiles,
            "hardware_compatible": options.hardware_compatible,
            "version_compatible": options.version_compatible,
            "compute_capabilities": options.compute_capabilities or ("8.9",),
            "build_command": options.command("fp16"),
        }
    )


def test_it_is_built_with_the_engines_options_and_a_copy_of_its_timing_cache(tmp_path: Path) -> None:
    (tmp_path / "own.cache").write_bytes(b"timings")
    options = EngineOptions(
        "tensorrt",
        profiles=(Profile((1, 8, 16), (1, 4, 16)), Profile((1, 32, 64), (1, 8, 64))),
        workspace_mib=777,
        optimization_level=5,
        timing_cache=tmp_path / "own.cache",
        hardware_compatible=True,
    )
    copy = tmp_path / "copy.cache"
    assert options_of(sidecar_for(options), copy) == replace(options, timing_cache=copy)
    assert copy.read_bytes() == b"timings"
    copy.write_bytes(b"more")
    options_of(sidecar_for(options), copy)
    assert copy.read_bytes() == b"more"
    assert options_of(sidecar_for(SMALL), tmp_path / "unused") == SMALL
    assert not (tmp_path / "unused").exists()
    (tmp_path / "own.cache").unlink()
    assert options_of(sidecar_for(options), tmp_path / "fresh").timing_cache == tmp_path / "fresh"
    assert not (tmp_path / "fresh").exists()


@pytest.mark.rtx
def test_another_version_would_build_another_engine(whole_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(whole_bundle)
    sidecar = sidecar_for(SMALL).model_copy(update={"version": "1.2.3"})
    builder = MarkedBuilder(sidecar, bundle.card, bundle.graph("fp32").path, tmp_path)
    with pytest.raises(SessionError, match=r"tensorrt-rtx 1\.2\.3 built it, and this is .*, which may fuse otherwise"):
        builder.build(["relu"])


@dataclass
class Gpus:
    """Several GPUs: which is current, and for which an engine was built and is run."""

    current: int = 0
    used: list[tuple[str, int]] = field(default_factory=list)

    def open(self, ordinal: int = 0) -> Any:  # noqa: ANN401
        @contextmanager
        def current() -> Iterator[None]:
            former, self.current = self.current, ordinal
            yield
            self.current = former

        return SimpleNamespace(ordinal=ordinal, current=current)

    def build(self, api: object, options: object, device: int, watch: object) -> Any:  # noqa: ANN401
        self.used += [("target", device), ("builder", self.current)]
        return SimpleNamespace(run=lambda *_: (b"plan", None))

    def run(self, api: object, plan: bytes, cuda: Any, **_: object) -> Any:  # noqa: ANN401
        self.used.append(("engine", cuda.ordinal))
        return nullcontext()


def test_it_is_built_for_and_run_on_the_gpu_of_the_session(
    whole_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus, sidecar, bundle = Gpus(), sidecar_for(SMALL), Bundle.open(whole_bundle)
    monkeypatch.setattr(marked, "open_cuda", gpus.open)
    monkeypatch.setattr(marked, "find_device", lambda ordinal=0: ordinal)
    monkeypatch.setattr(marked, "Build", gpus.build)
    monkeypatch.setattr(marked, "EngineRun", gpus.run)
    monkeypatch.setattr(marked, "import_tensorrt", lambda flavor: SimpleNamespace(__version__=sidecar.version))
    session = TensorRTSession.__new__(TensorRTSession)
    session.info, session.ordinal = SessionInfo("tensorrt", "10", "NVIDIA L4", "fp32", bundle.card), 1
    engines = SessionTrace(bundle.root, Crops.of(bundle))._engines(session, lambda: sidecar, tmp_path)
    with engines(["relu"]):
        assert gpus.used == [("target", 1), ("builder", 1), ("engine", 1)]
        assert gpus.current == 0
