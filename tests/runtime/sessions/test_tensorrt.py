"""Finding and refusing engines."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reid.runtime.sessions.tensorrt as sessions
from reid.export.engines.build import build_engine
from reid.export.engines.options import EngineOptions
from reid.export.graphs import ExportedGraph
from reid.runtime.bundle import Bundle
from reid.runtime.engine_card import EngineCard, Profile
from reid.runtime.engine_fit import Target
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.gpu import Device, find_device
from reid.runtime.precision import Precision
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.session import run
from reid.runtime.sessions.tensorrt import find_engine, open_tensorrt, open_tensorrt_rtx

pytestmark = pytest.mark.rtx

COMMAND = r"reid-export \S+ --precision fp32 --engine tensorrt-rtx --profile 1,4,8:1,2,8 --workspace 4096 \S+ 0"
OPTIONS = EngineOptions("tensorrt-rtx", profiles=(Profile((1, 4, 8), (1, 2, 8)),), optimization_level=0)


@pytest.fixture(scope="module")
def with_engine(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with a real TensorRT-RTX engine. Copy to change."""
    root = tmp_path_factory.mktemp("engines") / "bundle"
    shutil.copytree(bundle, root)
    opened = Bundle.open(root)
    build_engine(ExportedGraph(opened.graph("fp32")), root / "engines", opened.card, OPTIONS)
    return root


@pytest.fixture
def copy(with_engine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(with_engine, tmp_path / "bundle"))


def sidecar_of(root: Path) -> Path:
    (sidecar,) = (root / "engines").glob("*.json")
    return sidecar


def card_of(root: Path) -> EngineCard:
    return EngineCard.parse(sidecar_of(root).read_bytes(), sidecar_of(root))


def find(root: Path, precision: Precision = "fp32", **here: str) -> tuple[Path, EngineCard]:
    facts: dict[str, Any] = {"flavor": "tensorrt-rtx", "version": card_of(root).version, "compute_capability": "8.6"}
    return find_engine(Bundle.open(root), precision, Target(**{**facts, **here}))


def rewritten(root: Path, **changes: Any) -> None:  # noqa: ANN401
    sidecar_of(root).write_text(card_of(root).model_copy(update=changes).to_json())


def test_the_engine_for_here_is_found(with_engine: Path) -> None:
    path, card = find(with_engine)
    assert path == sidecar_of(with_engine).with_suffix(".engine")
    assert card == card_of(with_engine)


def test_damaged_engines_are_refused_with_the_command_that_rebuilds(copy: Path) -> None:
    engine = sidecar_of(copy).with_suffix(".engine")
    content = engine.read_bytes()
    for damaged in (b"", content[:-1], content[: len(content) // 2], content[:-1] + bytes([content[-1] ^ 1])):
        engine.write_bytes(damaged)
        with pytest.raises(ModelError, match=rf"{engine.name}.*rebuild it: {COMMAND}$"):
            find(copy)
    engine.unlink()
    with pytest.raises(ModelError, match=rf"is missing; rebuild it: {COMMAND}$"):
        find(copy)


def test_an_engine_of_another_graph_or_model_is_refused(copy: Path) -> None:
    for changes, named in (({"graph_sha256": "0" * 64}, "graph"), ({"fingerprint": "0" * 64}, "model")):
        original = sidecar_of(copy).read_bytes()
        rewritten(copy, **changes)
        with pytest.raises(ModelError, match=rf"another {named} \(000000000000.*{COMMAND}$"):
            find(copy)
        sidecar_of(copy).write_bytes(original)


def test_an_engine_for_elsewhere_is_refused_with_the_command_that_rebuilds(with_engine: Path) -> None:
    version = card_of(with_engine).version
    for here, named in (
        ({"version": "1.6.0.1"}, f"TensorRT-RTX {version}, and this is TensorRT-RTX 1.6.0.1"),
        ({"version": "9.0"}, "9.0"),
        ({"compute_capability": "9.0"}, "this GPU has 9.0"),
        ({"compute_capability": "7.5"}, "this GPU has 7.5"),
    ):
        with pytest.raises(SessionError, match=rf"{named}; rebuild it: {COMMAND}$"):
            find(with_engine, **here)


def test_where_no_engine_is_there_the_command_builds_one(bundle: Path, with_engine: Path) -> None:
    opened = Bundle.open(bundle)
    for precision, flavor in (("fp32", "tensorrt-rtx"), ("fp16", "tensorrt")):
        command = f"reid-export {bundle} --precision {precision} --engine {flavor}"
        with pytest.raises(SessionError, match=rf"no {precision} engine.*{command}$"):
            find_engine(opened, precision, Target(flavor, "1.7", "8.6"))
    with pytest.raises(SessionError, match=r"no fp32 engine of TensorRT;"):
        find(with_engine, flavor="tensorrt")


def test_an_engine_without_a_sidecar_or_with_anothers_is_never_taken(copy: Path) -> None:
    sidecar = sidecar_of(copy)
    content = sidecar.read_bytes()
    sidecar.unlink()
    with pytest.raises(SessionError, match="no fp32 engine"):
        find_engine(Bundle.open(copy), "fp32", Target("tensorrt-rtx", "1.7.1.116", "8.6"))
    (sidecar.parent / "other.json").write_bytes(content)
    (sidecar.parent / "other.engine").write_bytes(b"another engine")
    with pytest.raises(ModelError, match=r"other\.engine has 14 bytes"):
        find(copy)


def test_a_damaged_or_newer_sidecar_is_refused_by_its_name(copy: Path) -> None:
    sidecar = sidecar_of(copy)
    text = sidecar.read_text()
    version = card_of(copy).version
    for damaged, named in (
        (text[:-10], "not valid"),
        (text.replace('"8.6"', '"9.0"'), "edited"),
        (text.replace('"format_version": 1', '"format_version": 2'), "newer"),
        (text.replace('"format_version": 1', '"format_version": 0'), "format version 0"),
    ):
        sidecar.write_text(damaged)
        with pytest.raises(ModelError, match=rf"\.json.*{named}"):
            find_engine(Bundle.open(copy), "fp32", Target("tensorrt-rtx", version, "8.6"))


def test_of_several_engines_the_one_for_here_is_taken(copy: Path) -> None:
    sidecar = sidecar_of(copy)
    version = card_of(copy).version
    elsewhere = card_of(copy).model_copy(update={"compute_capabilities": ("12.0",)})
    for name in ("a", "z"):  # before and after it in the folder
        (sidecar.parent / f"{name}.json").write_text(elsewhere.to_json())
    path, _ = find_engine(Bundle.open(copy), "fp32", Target("tensorrt-rtx", version, "8.6"))
    assert path == sidecar.with_suffix(".engine")


def test_of_engines_of_the_same_compute_capability_the_one_of_this_model_is_taken(copy: Path) -> None:
    sidecar, built = sidecar_of(copy), card_of(copy)
    plan = sidecar.with_suffix(".engine").read_bytes()
    for name, device in (("a", "NVIDIA GeForce RTX 4090"), ("b", "NVIDIA L4"), ("c", "NVIDIA L40S")):
        changes = {"flavor": "tensorrt", "device": device, "compute_capabilities": ("8.9",)}
        (sidecar.parent / f"{name}.json").write_text(built.model_copy(update=changes).to_json())
        (sidecar.parent / f"{name}.engine").write_bytes(plan)
    here = Target("tensorrt", built.version, "8.9", device="NVIDIA L4")
    assert find_engine(Bundle.open(copy), "fp32", here)[0].stem == "b"
    assert find_engine(Bundle.open(copy), "fp32", replace(here, device="NVIDIA L20"))[0].stem == "a"  # noted


def test_a_damaged_engine_does_not_stand_in_the_way_of_a_good_one(copy: Path) -> None:
    good = sidecar_of(copy).with_suffix(".engine")
    version = card_of(copy).version
    (copy / "engines" / "aaa.engine").write_bytes(good.read_bytes()[:-1])
    shutil.copy(sidecar_of(copy), copy / "engines" / "aaa.json")
    (copy / "engines" / "aab.json").write_text("[" * 100_000)
    here = Target("tensorrt-rtx", version, "8.6")
    assert find_engine(Bundle.open(copy), "fp32", here)[0] == good
    good.unlink()
    with pytest.raises(ModelError, match="aaa"):
        find_engine(Bundle.open(copy), "fp32", here)


def test_without_a_gpu_a_bundle_does_not_open_and_says_what_does(
    with_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "find_device", lambda ordinal: None)
    for opener in (open_tensorrt, open_tensorrt_rtx):
        with pytest.raises(SessionError, match=r"no NVIDIA GPU 0 .*onnxruntime:cpu"):
            opener(with_engine, None, "fp32")
        with pytest.raises(SessionError, match="no NVIDIA GPU 3"):
            opener(with_engine, "3", "fp32")
        with pytest.raises(SessionError, match="give a GPU's number"):
            opener(with_engine, "cuda", "fp32")
        with pytest.raises(SessionError, match="give its bundle"):
            opener(with_engine / "model.fp32.onnx", None, "fp32")
        with pytest.raises(ModelError, match="has no int8 graph"):
            opener(with_engine, None, "int8")


def test_a_refused_engine_is_never_deserialized(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("the engine was deserialized")

    monkeypatch.setattr(sessions, "find_device", lambda ordinal: Device("NVIDIA L4", "8.9", "13.0"))
    monkeypatch.setattr(sessions, "TensorRTSession", never)
    with pytest.raises(AssertionError, match="was deserialized"):
        open_tensorrt_rtx(copy, None, "fp32")
    engine = sidecar_of(copy).with_suffix(".engine")
    engine.write_bytes(engine.read_bytes()[:-1])
    with pytest.raises(ModelError, match="bytes instead of the"):
        open_tensorrt_rtx(copy, None, "fp32")


@pytest.mark.gpu
def test_an_rtx_engine_on_a_gpu_equals_onnx_runtime_on_the_cpu(with_engine: Path) -> None:
    device = find_device()
    assert device is not None
    if device.compute_capability not in card_of(with_engine).compute_capabilities:
        with pytest.raises(SessionError, match="rebuild it"):
            open_tensorrt_rtx(with_engine, None, "fp32")
        return
    with (
        open_tensorrt_rtx(with_engine, None, "fp32").session as session,
        load_onnxruntime(with_engine / "model.fp32.onnx", "cpu") as reference,
    ):
        random = np.random.default_rng(0)
        for count, tracklets in ((1, 1), (8, 3), (8, 3), (8, 3), (5, 2)):
            frames = random.integers(0, 256, (count, 3, 64, 64)).astype(np.uint8)
            pooling = random.uniform(size=(tracklets, count)).astype(np.float32)
            for actual, expected in zip(run(session, frames, pooling), run(reference, frames, pooling), strict=True):
                np.testing.assert_allclose(actual, expected, atol=1e-5)
