"""The peaks of this machine, measured in a process; and the graphs that measure them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from reid.bench.costs import peaks
from reid.bench.costs.peaks import measure_peaks
from reid.bench.costs.products import INPUT, Products
from reid.bench.costs.record import Roofline
from reid.runtime.errors import SessionError
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.sessions import onnxruntime_providers
from reid.runtime.sessions.onnxruntime_providers import Provider


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["MatMul", "Conv"])
def test_graphs_are_what_onnx_says_they_are(kind: str, precision: Precision) -> None:
    products = Products(kind, precision, rows=1, channels=4)
    model = onnx.load_model_from_string(products.onnx())
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node].count(kind) == products.length
    result = ReferenceEvaluator(model).run(None, {INPUT: products.given()})[0]
    assert result.shape == products.shape
    assert np.isfinite(result).all()
    assert np.abs(result).max() > 0


def test_operations_of_products() -> None:
    assert Products("MatMul", "fp32", rows=3, channels=5, length=2).flops == 2 * (2 * 3 * 5 * 5)
    assert Products("Conv", "fp32", rows=2, channels=3, length=1).flops == 2 * 2 * 14 * 14 * 3 * 3 * 9


@pytest.fixture(scope="module")
def measured() -> Roofline:
    """The peaks of one thread, measured as briefly as it goes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_ROUNDS", 1), ("_SECONDS", 0), ("_COPIED_BYTES", 1 << 25)):
            patch.setattr(peaks, name, value)
        return peaks._measured("cpu", 1)


def test_peaks_of_this_machine(measured: Roofline) -> None:
    """Of each precision and of memory, in plausible numbers."""
    assert set(measured.operations_per_s) == set(PRECISIONS)
    assert all(1e9 < peak < 1e14 for peak in measured.operations_per_s.values())
    assert 1e8 < measured.bytes_per_s < 1e13
    assert measured.source == "measured in this run"


def test_what_the_process_prints_last_is_read(monkeypatch: pytest.MonkeyPatch, measured: Roofline) -> None:
    commands = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, f"a library's greeting\n{measured.model_dump_json()}\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert measure_peaks("cpu", threads=3) == measured
    assert commands == [[sys.executable, "-m", "reid.bench.costs.peaks", "cpu", "3"]]


def test_the_libraries_of_cuda_are_looked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_providers, "_obstacle", lambda ordinal: "libcudnn.so.9 does not load")
    with pytest.raises(SessionError, match=r"cannot start: libcudnn\.so\.9 does not load"):
        peaks._measured("cuda", 1)


def test_peaks_of_a_cpu_are_none_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older versions of ONNX Runtime fall back to the CPU, whatever they are told."""
    import onnxruntime

    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda graph, options, **_: session(graph, providers=["CPUExecutionProvider"])
    )
    gpu = Provider("CUDAExecutionProvider", "update the driver", 0)
    with pytest.raises(SessionError, match="fell back from CUDAExecutionProvider to the CPU: update the driver"):
        peaks._onnxruntime(Products("MatMul", "fp32", rows=1, channels=4), gpu, {}, 1)


def test_a_process_that_fails_is_an_error() -> None:
    with pytest.raises(SessionError, match="the peaks of 'cpu' cannot be measured: "):
        measure_peaks("cpu", threads=-1)


def test_a_process_that_takes_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_AT_MOST_S", 0.01)
    with pytest.raises(SessionError, match="took longer than"):
        measure_peaks("cpu")
