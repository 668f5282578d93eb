"""Graphs in every precision on the installed libraries; and what an installed library that is too old is told."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import reid.runtime.versions as versions
from reid.calibration.intermediates import run_with_intermediates
from reid.runtime.bundle import Bundle
from reid.runtime.errors import ModelError, ReidError, SessionError
from reid.runtime.imaging import read_frame, resize
from reid.runtime.opening import open_session
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.sessions.onnxruntime import _warn_of_truncation
from reid.runtime.sessions.openvino import import_openvino
from reid.runtime.sessions.session import run
from reid.runtime.versions import is_older

PROJECT = (Path(__file__).parents[3] / "pyproject.toml").read_text()
FLOORS = {name: re.findall(rf'"{name}(?:-gpu)?>=([\d.]+)', PROJECT)[0] for name in ("onnxruntime", "openvino")}
TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", FLOORS)
def test_a_graph_of_every_precision_embeds_as_pytorch_did(whole_bundle: Path, name: str, precision: Precision) -> None:
    crops, expected = Bundle.open(whole_bundle).reference()
    frames = np.stack([resize(read_frame(crop), 64, 64).transpose(2, 0, 1) for crop in crops[:16]])
    with open_session(whole_bundle, name, precision) as session:
        embeddings = run(session, frames, np.eye(len(frames), dtype=np.float32)).frame_embedding
    similarity = (embeddings * expected[:16]).sum(axis=1)
    assert similarity.min() > {"fp32": 0.999999, "fp16": 0.9999, "int8": 0.99}[precision]


@pytest.fixture
def graph(bundle: Path, tmp_path: Path) -> Path:
    """A graph with a layer that no library has."""
    path = Path(shutil.copy(bundle / "model.fp32.onnx", tmp_path / "model.onnx"))
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Reluish"
    onnx.save(model, path)
    return path


def pretend(backend: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime if backend == "onnxruntime" else import_openvino(), "__version__", version)


def refusal(graph: Path, backend: str) -> ReidError:
    with pytest.raises(ReidError) as caught:
        open_session(graph, backend)
    return caught.value


@pytest.mark.parametrize("old", ["0.9", "1.9.3", "1.20.1+cu12"])
@pytest.mark.parametrize("backend", FLOORS)
def test_a_library_that_is_too_old_for_a_graph_is_named_with_the_command_that_updates_it(
    graph: Path, backend: str, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(backend, old, monkeypatch)
    error = refusal(graph, backend)
    assert isinstance(error, SessionError)
    start, floor = f"{graph}: {TITLES[backend]} {old} cannot ", FLOORS[backend]
    assert str(error).startswith(start)
    assert str(error).endswith(f"; reid needs {floor} or newer: pip install '{backend}>={floor}'")
    assert "export it again" not in str(error)


@pytest.mark.parametrize("backend", FLOORS)
def test_a_graph_that_a_library_of_the_oldest_allowed_version_refuses_has_to_be_exported_again(
    graph: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (FLOORS[backend], f"{FLOORS[backend]}.0", "2999.1-17942-abc"):
        pretend(backend, version, monkeypatch)
        error = refusal(graph, backend)
        assert isinstance(error, ModelError)
        assert str(error).endswith("; export it again")


@pytest.mark.parametrize("package", ["onnxruntime", "onnxruntime-gpu"])
def test_the_command_updates_the_package_by_which_the_library_is_installed(
    graph: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("onnxruntime", "1.20.0", monkeypatch)
    monkeypatch.setattr(versions, "_version", {package: "1.20.0"}.get)
    assert f"pip install '{package}>=" in str(refusal(graph, "onnxruntime"))


def test_calibration_says_the_same(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend("onnxruntime", "1.20.0", monkeypatch)
    with pytest.raises(SessionError, match=r"ONNX Runtime 1\.20\.0 cannot run it \(.*; reid needs .*: pip install '"):
        list(run_with_intermediates(graph, np.zeros((1, 3, 64, 64), np.uint8), only=frozenset({"pooled"})))


@pytest.mark.parametrize(("version", "truncates"), [("1.29.0", True), ("1.30.0", False)])
def test_int8_on_a_version_that_truncates_is_said_once(
    whole_bundle: Path, version: str, truncates: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend("onnxruntime", version, monkeypatch)
    _warn_of_truncation.cache_clear()
    with caplog.at_level(logging.WARNING, logger="reid"):
        for precision in (*PRECISIONS, *PRECISIONS):
            open_session(whole_bundle, "onnxruntime:cpu", precision).close()
    _warn_of_truncation.cache_clear()
    assert ["truncates" in message for message in caplog.messages] == [True] * truncates


def test_whether_the_installed_version_truncates_is_as_the_note_has_it() -> None:
    """QuantizeLinear of FP16 values half-way between two INT8 values and above."""
    scale, zero = np.array(0.5, np.float16), np.array(0, np.int8)
    values = np.array([0.7, 0.8, -0.8, 1.2], np.float16)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])],
            "rounding",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT16, [4])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT8, [4])],
            [onnx.numpy_helper.from_array(scale, "scale"), onnx.numpy_helper.from_array(zero, "zero")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 19)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rounds = session.run(None, {"x": values})[0].tolist() == np.rint(values / scale).tolist()
    assert rounds == (not is_older(onnxruntime.__version__, "1.30"))
