"""Engines are real, built by TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import reid.export.engines.build as builder
from reid.evaluation.verification.records import LayerInFp32
from reid.export.engines.add import add_engines
from reid.export.engines.build import build_engine
from reid.export.engines.options import EngineOptions
from reid.export.engines.steps import Build
from reid.export.engines.watch import PROGRESS_STEPS, BuildWatch
from reid.export.fp16 import write_fp16_graph
from reid.export.graph import OPSET
from reid.export.graphs import ExportedGraph
from reid.runtime.bundle import Bundle, Graph
from reid.runtime.engine_card import EngineCard, LayerSummary, Profile
from reid.runtime.engine_fit import Target, check_engine
from reid.runtime.errors import GateError, ModelError, SessionError
from reid.runtime.files.names import is_name
from reid.runtime.files.reading import sha256_of
from reid.runtime.gpu import Device
from reid.runtime.model_card import ModelCard
from reid.runtime.precision import Precision
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.tensorrt import find_engine

RTX = EngineOptions("tensorrt-rtx")
SMALL = replace(RTX, profiles=(Profile((1, 4, 8), (1, 2, 8)),), optimization_level=0)


@pytest.fixture(scope="module")
def card(bundle: Path) -> ModelCard:
    return Bundle.open(bundle).card


class Steps:
    """A progress that keeps what it is told, and calls a function with the steps done so far."""

    def __init__(self, on_step: Callable[[int], None] = lambda done: None) -> None:
        self.stages: list[tuple[str, int, str]] = []
        self.done: list[int] = [0]
        self.on_step = on_step

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        self.stages.append((stage, total, unit))

    def advance(self, steps: int = 1) -> None:
        self.done.append(self.done[-1] + steps)
        self.on_step(self.done[-1])


def build(
    graph: Path,
    output: Path,
    card: ModelCard,
    precision: Precision = "fp32",
    *,
    options: EngineOptions = SMALL,
    in_fp32: Sequence[str] = (),
    progress: Progress = SILENT,
) -> EngineCard:
    sha256 = sha256_of(graph) if graph.is_file() else ""
    layers = tuple(LayerInFp32(layer=name, amax=1e5) for name in in_fp32)
    return build_engine(ExportedGraph(Graph(precision, graph, sha256), layers), output, card, options, progress)


def convolution(
    name: str, source: str, target: str, channels: int, dtype: type
) -> tuple[onnx.NodeProto, onnx.TensorProto]:
    weights = np.random.default_rng(0).normal(size=(8, channels, 3, 3)).astype(dtype)
    node = helper.make_node("Conv", [source, f"{name}.weight"], [target], name=name, pads=[1, 1, 1, 1])
    return node, numpy_helper.from_array(weights, f"{name}.weight")


def fp16_graph(path: Path, *, second: type = np.float32, odd: bool = False) -> Path:
    """A graph with this project's inputs and outputs: conv_a in FP16, conv_b in FP32 or FP16."""
    first_node, first_weight = convolution("conv_a", "fp16", "a", 3, np.float16)
    second_node, second_weight = convolution("conv_b", "cast", "b", 8, second)
    middle = TensorProto.FLOAT if second is np.float32 else TensorProto.FLOAT16
    nodes = [
        helper.make_node("Cast", ["frames"], ["fp16"], name="to_half", to=TensorProto.FLOAT16),
        first_node,
        helper.make_node("Cast", ["a"], ["cast"], name="between", to=middle),
        second_node,
        helper.make_node("Cast", ["b"], ["float"], name="to_float", to=TensorProto.FLOAT),
        helper.make_node(
            "Frobnicate" if odd else "Relu", ["float"], ["relu"], name="suspect", domain="odd" if odd else ""
        ),
        helper.make_node("ReduceMax", ["relu", "axes"], ["frame_embedding"], name="pool", keepdims=0),
        helper.make_node("MatMul", ["pooling", "frame_embedding"], ["pooled"], name="mean"),
    ]
    shapes = {
        "frames": (TensorProto.UINT8, ["N", 3, 64, 64]),
        "pooling": (TensorProto.FLOAT, ["T", "N"]),
        "frame_embedding": (TensorProto.FLOAT, ["N", 8]),
        "pooled": (TensorProto.FLOAT, ["T", 8]),
    }
    ends = [helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()]
    axes = numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    graph = helper.make_graph(nodes, "fp16", ends[:2], ends[2:], [first_weight, second_weight, axes])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("odd", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def test_the_bundles_graph_becomes_an_engine_with_its_card(bundle: Path, card: ModelCard, tmp_path: Path) -> None:
    graph = bundle / "model.fp32.onnx"
    built = build(graph, tmp_path / "engines", card)
    stem = f"{built.device}-{built.version}-fp32"
    assert sorted(os.listdir(tmp_path / "engines")) == [f"{stem}.engine", f"{stem}.json"]
    engine = tmp_path / "engines" / f"{stem}.engine"
    assert EngineCard.parse(engine.with_suffix(".json").read_bytes(), engine) == built
    assert built.engine_sha256 == hashlib.sha256(engine.read_bytes()).hexdigest()
    assert (built.graph_sha256, built.fingerprint, built.opset) == (sha256_of(graph), card.fingerprint, OPSET)
    assert {"8.0", "8.6", "8.9", "12.0"} <= set(built.compute_capabilities)
    assert "7.5" not in built.compute_capabilities
    assert built.profiles == SMALL.profiles
    target = Target("tensorrt-rtx", built.version, "8.6")
    check_engine(engine, built, target, Bundle.open(bundle).graph("fp32"), card.fingerprint)


def test_an_engine_of_small_batches_is_built_and_passes(bundle: Path, card: ModelCard, tmp_path: Path) -> None:
    """Profile 1,8,8:1,4,4 of the documents: fewer than 32 frames, and fewer tracklets than frames."""
    options = replace(SMALL, profiles=(Profile((1, 8, 8), (1, 4, 4)),), compute_capabilities=("8.9",))
    graph = Bundle.open(bundle).graph("fp32")
    built = build(graph.path, tmp_path, card, options=options)
    assert built.profiles == (Profile((1, 8, 8), (1, 4, 4)),)
    (engine,) = tmp_path.glob("*.engine")
    check_engine(engine, built, Target("tensorrt-rtx", built.version, "8.9"), graph, card.fingerprint)


def test_every_convolution_of_the_engine_is_counted(bundle: Path, card: ModelCard, tmp_path: Path) -> None:
    graph = bundle / "model.fp32.onnx"
    convolutions = sum(node.op_type == "Conv" for node in onnx.load(graph).graph.node)
    layers = build(graph, tmp_path, card).layers
    assert layers.convolutions == {"fp32": convolutions}
    assert len(layers.fp32_convolutions) == convolutions
    assert layers.source in ("engine", "build log")
    assert bool(layers.reason) == (layers.source != "engine")


def random_frames(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 3, side, side), dtype=np.uint8)


def test_the_bundles_fp16_graph_becomes_an_engine_without_an_fp32_convolution(
    bundle: Path, card: ModelCard, tmp_path: Path
) -> None:
    assert write_fp16_graph(bundle / "model.fp32.onnx", tmp_path / "fp16.onnx", random_frames(64)) == ()
    layers = build(tmp_path / "fp16.onnx", tmp_path / "engines", card, "fp16").layers
    assert set(layers.convolutions) == {"fp16"}


def test_resnet50_of_three_levels_becomes_engines_in_fp32_and_fp16(
    resnet50: tuple[Path, Path, ModelCard], tmp_path: Path
) -> None:
    fp32_graph, fp16_graph, card = resnet50
    built = build(fp32_graph, tmp_path / "engines", card, options=RTX)
    assert built.layers.convolutions == {"fp32": 53}
    assert built.profiles == (Profile((1, 32, 32), (1, 8, 32)),)
    fp16 = build(fp16_graph, tmp_path / "engines", card, "fp16", options=RTX)
    assert fp16.layers.convolutions == {"fp16": 53}


def test_several_profiles_and_chosen_compute_capabilities(card: ModelCard, tmp_path: Path) -> None:
    profiles = (Profile((1, 1, 4), (1, 1, 4)), Profile((4, 16, 64), (1, 4, 16)))
    options = replace(RTX, profiles=profiles, compute_capabilities=("8.6", "12.0"), timing_cache=tmp_path / "cache")
    built = build(fp16_graph(tmp_path / "g.onnx", second=np.float16), tmp_path / "e", card, "fp16", options=options)
    assert built.profiles == profiles
    assert (built.compute_capabilities, built.device) == (("8.6", "12.0"), "sm86-sm120")
    assert not (tmp_path / "cache").exists()  # TensorRT-RTX has none


def test_an_fp16_graph_becomes_an_fp16_engine(card: ModelCard, tmp_path: Path) -> None:
    layers = build(fp16_graph(tmp_path / "g.onnx", second=np.float16), tmp_path / "e", card, "fp16").layers
    assert layers.convolutions == {"fp16": 2}


def test_an_fp16_engine_with_an_fp32_convolution_fails_the_gate(card: ModelCard, tmp_path: Path) -> None:
    graph = fp16_graph(tmp_path / "g.onnx")
    with pytest.raises(GateError, match=r"1 of 2 convolutions run in FP32 \(conv_b\)"):
        build(graph, tmp_path / "engines", card, "fp16")
    assert not (tmp_path / "engines").exists()
    built = build(graph, tmp_path / "engines", card, "fp16", in_fp32=["conv_b"])
    assert built.layers.convolutions == {"fp16": 1, "fp32": 1}


def test_the_engines_own_layers_are_gated_not_only_the_network(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Betrayed(Build):
        def _inspect(self, *arguments: Any) -> Iterator[LayerSummary]:  # noqa: ANN401
            for read in Build._inspect(self, *arguments):
                yield read.model_copy(update={"fp32_convolutions": ("conv_a",)})

    monkeypatch.setattr(builder, "Build", Betrayed)
    with pytest.raises(GateError, match="conv_a"):
        build(fp16_graph(tmp_path / "g.onnx", second=np.float16), tmp_path / "engines", card, "fp16")
    assert not (tmp_path / "engines").exists()


def test_a_parser_error_names_the_node_its_type_and_the_remedy(card: ModelCard, tmp_path: Path) -> None:
    graph = fp16_graph(tmp_path / "odd.onnx", odd=True)
    with pytest.raises(
        ModelError, match=r"cannot parse .*odd\.onnx: node 'suspect' \(Frobnicate\): .*; export"
    ) as caught:
        build(graph, tmp_path / "engines", card)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "engines").exists()


@pytest.mark.parametrize("damage", ["cut", "text", "absent"])
def test_what_is_no_graph_is_refused_by_its_name(bundle: Path, card: ModelCard, tmp_path: Path, damage: str) -> None:
    graph = tmp_path / "model.onnx"
    if damage != "absent":
        graph.write_bytes((bundle / "model.fp32.onnx").read_bytes()[:5000] if damage == "cut" else b"hello")
    with pytest.raises(ModelError, match=r"model\.onnx"):
        build(graph, tmp_path / "engines", card)


def test_a_graph_that_cannot_be_built_gives_the_builders_last_error(card: ModelCard, tmp_path: Path) -> None:
    turing = replace(RTX, profiles=SMALL.profiles, compute_capabilities=("7.5",))
    with pytest.raises(ModelError, match=r"cannot build .*g\.onnx: .*Turing"):
        build(fp16_graph(tmp_path / "g.onnx"), tmp_path / "engines", card, options=turing)
    assert not (tmp_path / "engines").exists()


def test_progress_ascends_to_the_whole(bundle: Path, card: ModelCard, tmp_path: Path) -> None:
    steps = Steps()
    build(bundle / "model.fp32.onnx", tmp_path, card, progress=steps)
    assert steps.stages == [("building fp32 engine", PROGRESS_STEPS, "steps")]
    assert steps.done == sorted(set(steps.done))
    assert steps.done[-1] == PROGRESS_STEPS
    assert len(steps.done) > 10


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), RuntimeError("the bar broke")], ids=repr)
def test_an_interruption_stops_the_build_and_leaves_what_was_there(
    card: ModelCard, tmp_path: Path, interruption: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    graph, output = fp16_graph(tmp_path / "g.onnx"), tmp_path / "engines"
    build(graph, output, card)
    before = {path: path.read_bytes() for path in output.iterdir()}

    def interrupt(done: int) -> None:
        if done > 200:
            raise interruption

    with pytest.raises(type(interruption)):
        build(graph, output, card, progress=Steps(interrupt))
    assert {path: path.read_bytes() for path in output.iterdir()} == before
    assert capfd.readouterr() == ("", "")


def test_a_failure_between_engine_and_sidecar_leaves_what_was_there(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, engines = fp16_graph(tmp_path / "g.onnx"), tmp_path / "engines"
    write = Path.write_bytes

    def full_disk(path: Path, content: bytes) -> int:
        if path.suffix == ".json":
            raise OSError(28, "No space left on device")
        return write(path, content)

    def build_on_a_full_disk() -> None:
        smaller = replace(SMALL, profiles=(Profile((1, 4, 7), (1, 2, 7)),))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full_disk)
            with pytest.raises(OSError, match="No space"):
                build(graph, engines, card, options=smaller)

    build_on_a_full_disk()
    assert os.listdir(tmp_path) == ["g.onnx"]
    build(graph, engines, card)
    before = {path.name: sha256_of(path) for path in engines.iterdir()}
    build_on_a_full_disk()
    assert {path.name: sha256_of(path) for path in engines.iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["engines", "g.onnx"]


def test_options_of_the_other_flavor_are_refused(card: ModelCard, tmp_path: Path) -> None:
    graph = fp16_graph(tmp_path / "g.onnx")
    for options in (replace(RTX, hardware_compatible=True), replace(RTX, version_compatible=True)):
        with pytest.raises(SessionError, match="are options of TensorRT"):
            build(graph, tmp_path / "engines", card, options=options)
    with pytest.raises(SessionError, match=r"unknown compute capability '9\.9' of .*; choose one of: .*8\.6"):
        build(graph, tmp_path / "engines", card, options=replace(RTX, compute_capabilities=("8.6", "9.9")))
    gpu = Device("NVIDIA L4", "8.9", "13.0")
    api, watch = SimpleNamespace(__version__="10.13"), BuildWatch(SILENT, "building")
    with pytest.raises(SessionError, match="builds for the GPU of this machine"):
        Build(api, EngineOptions("tensorrt", compute_capabilities=("8.6",)), gpu, watch)  # type: ignore[arg-type]
    with pytest.raises(SessionError, match="--engine tensorrt-rtx, which needs no GPU"):
        Build(api, EngineOptions("tensorrt"), None, watch)  # type: ignore[arg-type]
    orin = Device("Orin", "8.7", "12.6")
    with pytest.raises(
        SessionError, match=r"no hardware-compatible engines on a Jetson \(Orin\): leave --hardware-comp"
    ):
        Build(api, EngineOptions("tensorrt", hardware_compatible=True), orin, watch)  # type: ignore[arg-type]


def test_an_engine_that_this_gpu_does_not_load_is_judged_by_the_log(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "find_device", lambda: Device("NVIDIA H100", "9.0", "13.0"))
    built = build(fp16_graph(tmp_path / "g.onnx", second=np.float16), tmp_path / "engines", card, "fp16")
    assert (built.layers.source, built.layers.convolutions) == ("build log", {"fp16": 2})
    assert built.layers.reason.startswith("NVIDIA H100 cannot load it: ")
    assert built.platform == f"{os.uname().sysname}-{os.uname().machine}"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"profiles": ()}, "at least one profile"),
        ({"workspace_mib": 0}, "workspace of 0 MiB"),
        ({"optimization_level": 6}, "optimization level 6"),
        ({"compute_capabilities": ("sm86",)}, "'sm86'"),
        ({"compute_capabilities": ("٨.٦",)}, "'٨.٦'"),
        ({"workspace_mib": 1 << 21}, "workspace of 2097152 MiB: must be 1 to 1,048,576"),
        ({"profiles": (Profile((1, 1, 1), (1, 1, 1)),) * 65}, "at most 64"),
        ({"timing_cache": Path("a\nb")}, "must have a name that can be printed"),
        ({"timing_cache": Path("/dev/zero")}, "timing cache /dev/zero: a device, not a file"),
        ({"timing_cache": Path("/tmp")}, "timing cache /tmp: a folder, not a file"),
        ({"profiles": (Profile((4, 16, 64), (1, 4, 16)),)}, "1 frames and 1 tracklets fits no profile"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        EngineOptions("tensorrt", **options)


def test_the_remedy_for_a_batch_that_fits_no_profile_is_a_profile_that_it_fits() -> None:
    lacking = (Profile((1, 1, 4), (1, 1, 2)), Profile((4, 8, 8), (1, 4, 4)))
    with pytest.raises(ValueError, match="3 frames and 3 tracklets fits no profile") as caught:
        EngineOptions("tensorrt", profiles=lacking)
    *_, remedy = str(caught.value).split()
    frames, tracklets = (tuple(map(int, part.split(","))) for part in remedy.split(":"))
    EngineOptions("tensorrt", profiles=(*lacking, Profile(frames, tracklets)))  # type: ignore[arg-type]


def test_a_missing_package_is_named_with_what_to_install(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(SessionError, match=r"tensorrt-rtx is not installed: pip install 'reid\[rtx\]'"):
        build(tmp_path / "g.onnx", tmp_path, card)


@pytest.mark.parametrize(
    ("device", "named"),
    [
        ("NVIDIA L4", "nvidia-l4"),
        ("../../x", "x"),
        ("/etc/passwd", "etc-passwd"),
        ("L4\x1b[2J\n\0", "l4-2j"),
        ("..", "gpu"),
        ("", "gpu"),
        ("GPU der Zukunft \N{LATIN SMALL LETTER A WITH DIAERESIS}" * 9, None),
    ],
)
def test_whatever_a_device_is_called_its_engine_has_a_plain_name(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, named: str | None
) -> None:
    class Elsewhere(Build):
        def __init__(self, api: Any, options: EngineOptions, found: Any, watch: BuildWatch) -> None:  # noqa: ANN401
            super().__init__(api, EngineOptions("tensorrt"), Device(device, "8.9", "13.0"), watch)

        def run(self, exported: ExportedGraph, of: ModelCard) -> tuple[bytes, LayerSummary]:
            return b"plan", LayerSummary(source="engine", layers={}, convolutions={})

    monkeypatch.setattr(builder, "Build", Elsewhere)
    built = build(fp16_graph(tmp_path / "g.onnx"), tmp_path / "engines", card)
    engine, sidecar = sorted(path.name for path in tmp_path.rglob("*") if path.parent == tmp_path / "engines")
    assert (engine, sidecar) == (f"{Path(engine).stem}.engine", f"{Path(engine).stem}.json")
    assert is_name(engine)
    assert len(engine) < 128
    assert named is None or engine == f"{named}-{built.version}-fp32.engine"
    assert EngineCard.read(tmp_path / "engines" / sidecar) == built


def test_engines_are_not_written_through_a_link(card: ModelCard, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "engines").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="engines is a link, and engines stay in their bundle; remove it"):
        build(fp16_graph(tmp_path / "g.onnx", second=np.float16), tmp_path / "engines", card, "fp16")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_graph_with_weights_in_other_files_is_not_parsed(card: ModelCard, tmp_path: Path) -> None:
    model = onnx.load(fp16_graph(tmp_path / "g.onnx"))
    onnx.save(model, tmp_path / "outside.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").is_file()
    with pytest.raises(ModelError, match=r"outside\.onnx .* weights in other files"):
        build(tmp_path / "outside.onnx", tmp_path / "engines", card)


KILLED = """
import os, signal, sys
from pathlib import Path

write = Path.write_bytes

def killed(path, content):
    if path.suffix == ".json":
        os.kill(os.getpid(), signal.SIGKILL)
    return write(path, content)

Path.write_bytes = killed
from reid.export.engines.add import add_engines
from reid.export.engines.options import EngineOptions
from reid.runtime.bundle import Bundle
from reid.runtime.engine_card import Profile

profile = Profile((1, 4, int(sys.argv[2])), (1, 2, 4))
options = EngineOptions("tensorrt-rtx", (profile,), optimization_level=0, compute_capabilities=("8.9",))
add_engines(Bundle.open(Path(sys.argv[1])), ["fp32"], options)
"""


def test_a_kill_between_engine_and_sidecar_leaves_what_was_there(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))

    def kill(most: int) -> None:
        done = subprocess.run([sys.executable, "-c", KILLED, str(copy), str(most)], capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr

    kill(8)
    assert not (copy / "engines").exists()
    options = replace(SMALL, compute_capabilities=("8.9",))
    version = add_engines(Bundle.open(copy), ["fp32"], options)[0].version
    target = Target("tensorrt-rtx", version, "8.9")
    before = {path.name: sha256_of(path) for path in (copy / "engines").iterdir()}
    (copy / "engines" / "notes").write_text("mine")
    kill(7)
    assert find_engine(Bundle.open(copy), "fp32", target)[1].profiles == options.profiles
    assert {path.name: sha256_of(path) for path in (copy / "engines").iterdir() if path.name != "notes"} == before
    add_engines(Bundle.open(copy), ["fp32"], options)
    assert find_engine(Bundle.open(copy), "fp32", target)[0].is_file()
    assert (copy / "engines" / "notes").read_text() == "mine"
    assert not list(copy.glob(".*"))
