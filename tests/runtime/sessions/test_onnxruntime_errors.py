from __future__ import annotations

from pathlib import Path

import pytest

from reid.runtime.cuda import DeviceMemoryError
from reid.runtime.errors import ModelError, ReidError, SessionError
from reid.runtime.sessions.onnxruntime_errors import load_error, run_error
from reid.runtime.sessions.onnxruntime_providers import Provider

GRAPH = Path("model.onnx")
CUDA = Provider("CUDAExecutionProvider", "update the driver", 0)
CPU = Provider("CPUExecutionProvider", "reinstall onnxruntime")


def raised(name: str, text: str) -> Exception:
    """An exception as ONNX Runtime raises it: of a class of its own, right below Exception."""
    return type(name, (Exception,), {})(text)


@pytest.mark.parametrize("provider", [CUDA, CPU])
@pytest.mark.parametrize("name", ["Fail", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "InvalidArgument"])
def test_a_graph_that_cannot_be_read_is_to_be_exported_again(name: str, provider: Provider) -> None:
    error = load_error(raised(name, "[ONNXRuntimeError] : 1 : FAIL : no such operator"), GRAPH, provider, "1.31")
    assert isinstance(error, ModelError)
    assert "export it again" in str(error)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("EPFail", "[ONNXRuntimeError] : 11 : EP_FAIL : something"),
        ("RuntimeException", "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : something"),
        ("NotImplemented", "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : no kernel for Conv"),
        ("RuntimeError", "something"),
        ("Fail", "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 100: no CUDA-capable device is detected"),
        ("Fail", "CUBLAS failure 1: CUBLAS_STATUS_NOT_INITIALIZED"),
        ("Fail", "CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED"),
    ],
)
def test_what_a_gpu_does_not_do_is_no_fault_of_the_graph(name: str, text: str) -> None:
    for error in (
        load_error(raised(name, text), GRAPH, CUDA, "1.31"),
        run_error(raised(name, text), GRAPH, CUDA, 4),
    ):
        assert isinstance(error, SessionError)
        assert str(error).endswith("update the driver")
        assert "export it again" not in str(error)


def test_an_old_onnxruntime_is_to_be_updated() -> None:
    error = load_error(raised("Fail", "unsupported model IR version"), GRAPH, CPU, "1.20.0")
    assert isinstance(error, SessionError)
    assert "pip install" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 70368744177664",
        "bfc_arena.cc:376 Available memory of 12345 is smaller than requested bytes of 23456",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ],
)
@pytest.mark.parametrize("provider", [CUDA, CPU])
def test_too_little_memory_is_known_for_what_it_is(text: str, provider: Provider) -> None:
    running = run_error(raised("RuntimeError", text), GRAPH, provider, 8)
    loading: ReidError = load_error(raised("Fail", text), GRAPH, provider, "1.31")
    assert isinstance(running, DeviceMemoryError)
    assert isinstance(loading, SessionError)
    assert "out of memory with 8 frames" in str(running)
    assert "out of memory" in str(loading)


def test_a_batch_that_fails_on_a_cpu_keeps_its_remedy() -> None:
    error = run_error(raised("Fail", "Reshape\nand more"), GRAPH, CPU, 1)
    assert str(error) == "model.onnx: ONNX Runtime cannot run it (Reshape); use smaller batches, or export it again"
