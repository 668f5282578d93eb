"""Who judges a search: OpenVINO where it answers as well as the gate's own session, and that one otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import reid.export.int8.judge as judge
from reid.evaluation.verification.reference import Crops
from reid.export.int8.judge import choose_judge
from reid.export.verification.graphs import load_usual
from reid.runtime.bundle import Bundle
from reid.runtime.errors import SessionError
from reid.runtime.imaging import read_frame, resize
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.openvino import load_openvino


@pytest.fixture(scope="module")
def graph(bundle: Path) -> Path:
    return bundle / "model.fp32.onnx"


@pytest.fixture(scope="module")
def crops(bundle: Path) -> Crops:
    pictures, embeddings = Bundle.open(bundle).reference()
    return Crops(np.stack([resize(read_frame(one), 64, 64).transpose(2, 0, 1) for one in pictures]), embeddings)


def test_openvino_judges_where_it_answers_as_well(
    graph: Path, crops: Crops, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "best_device", lambda: "cpu")
    assert choose_judge(graph, crops) is load_openvino
    assert not caplog.records


def test_a_gpu_judges_by_the_usual_session(graph: Path, crops: Crops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "best_device", lambda: "cuda")
    assert choose_judge(graph, crops) is load_usual


def test_without_openvino_the_usual_session_judges(
    graph: Path, crops: Crops, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent() -> None:
        raise SessionError("openvino is not installed")

    monkeypatch.setattr(judge, "best_device", lambda: "cpu")
    monkeypatch.setattr(judge, "import_openvino", absent)
    assert choose_judge(graph, crops) is load_usual
    assert not caplog.records


def test_one_that_embeds_less_exactly_does_not_judge(
    graph: Path, crops: Crops, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def saturated(path: Path) -> HostSession:
        session = load_onnxruntime(path, "cpu")
        exact = session.infer

        def infer(*inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
            embeddings, pooled = exact(*inputs)
            clipped = np.minimum(embeddings, np.quantile(embeddings, 0.9))
            return clipped / np.linalg.norm(clipped, axis=1, keepdims=True), pooled

        session.infer = infer
        return session

    monkeypatch.setattr(judge, "best_device", lambda: "cpu")
    monkeypatch.setattr(judge, "load_openvino", saturated)
    monkeypatch.setattr(judge, "load_usual", lambda path: load_onnxruntime(path, "cpu"))
    assert choose_judge(graph, crops) is judge.load_usual
    (record,) = caplog.records
    assert "OpenVINO embeds the reference crops less exactly on this CPU" in record.getMessage()


def test_one_that_refuses_the_graph_does_not_judge(
    graph: Path, crops: Crops, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(path: Path) -> HostSession:
        raise SessionError("too old for the graph")

    monkeypatch.setattr(judge, "best_device", lambda: "cpu")
    monkeypatch.setattr(judge, "load_openvino", refused)
    assert choose_judge(graph, crops) is load_usual
    (record,) = caplog.records
    assert record.getMessage().endswith("OpenVINO does not run it: too old for the graph")
