from __future__ import annotations

import ctypes
import ctypes.util
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest

from reid.runtime.errors import SessionError
from reid.runtime.gpu import Device
from reid.runtime.sessions import onnxruntime_providers as providers
from reid.runtime.sessions.onnxruntime_providers import Provider, best_device, find_provider

Pretend = Callable[..., None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretend]:
    """Pretend that this machine has a GPU, with a driver, an ONNX Runtime and libraries as given."""

    def apply(driver: str = "13.0", build: str = "13.0", gpus: int = 2, libraries: tuple[str, ...] = ("",)) -> None:
        gpu = Device("NVIDIA L4", "8.9", driver)
        monkeypatch.setattr(providers, "find_device", lambda ordinal=0: gpu if ordinal < gpus else None)
        monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        monkeypatch.setattr(onnxruntime.capi, "build_and_package_info", SimpleNamespace(cuda_version=build))
        monkeypatch.setattr(providers, "_loads", lambda library: any(name in library for name in libraries))
        forget()

    yield apply
    forget()


def forget() -> None:
    """Forget what is looked up once in a process."""
    providers._load_libraries.cache_clear()
    providers._note_the_cpu.cache_clear()


def test_cuda_is_taken_where_it_can_start(pretend: Pretend, caplog: pytest.LogCaptureFixture) -> None:
    pretend()
    assert best_device() == "cuda"
    assert not caplog.messages
    assert find_provider("cuda:1").ordinal == 1


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (
            {"driver": "12.8"},
            r"the driver is for CUDA 12\.8, and this ONNX Runtime is for CUDA 13\.0: update the driver",
        ),
        ({"libraries": ("cudart", "cublasLt", "cudnn")}, r"libcublas\.so\.13 does not load: pip install 'reid\[gpu\]'"),
        ({"libraries": ("cudart", "cublas", "curand")}, r"libcudnn\.so\.9 does not load"),
        ({"driver": "12.8", "build": "12.6", "libraries": ()}, r"libcudart\.so\.12 does not load"),
    ],
)
def test_where_cuda_cannot_start_auto_is_the_cpu_with_one_note(
    pretend: Pretend,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    machine: dict[str, object],
    reason: str,
) -> None:
    monkeypatch.setattr("reid.runtime.installs.is_installed", lambda name: False)  # the ONNX Runtime for CPUs
    pretend(**machine)
    with caplog.at_level(logging.WARNING):
        assert [best_device(), best_device()] == ["cpu", "cpu"]
    (note,) = caplog.messages
    with pytest.raises(SessionError, match=reason) as raised:
        find_provider("cuda")
    assert "onnxruntime:cpu" in str(raised.value)
    assert note.partition(": ")[2] in str(raised.value)


def test_without_a_gpu_there_is_nothing_to_say(pretend: Pretend, caplog: pytest.LogCaptureFixture) -> None:
    pretend(gpus=0)
    assert best_device() == "cpu"
    assert not caplog.messages


def test_a_newer_driver_and_a_build_that_says_nothing_are_no_obstacle(pretend: Pretend) -> None:
    pretend(driver="14.1")
    assert best_device() == "cuda"
    pretend(build="", libraries=())
    assert best_device() == "cuda"


def test_a_library_that_is_no_use_without_another_is_optional(pretend: Pretend) -> None:
    pretend(libraries=("cudart", "cublas", "curand", "cudnn"))
    assert best_device() == "cuda"


def test_a_gpu_that_is_not_there_is_named(pretend: Pretend) -> None:
    pretend(gpus=1)
    with pytest.raises(SessionError, match="no NVIDIA GPU 1 with a driver"):
        find_provider("cuda:1")


def test_the_libraries_of_pips_packages_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA 13 has a folder of its own; before, each library had one."""
    for name in ("cu13/lib/libcudart.so.13", "cudnn/lib/libcudnn.so.9", "cu14/lib/libcurand.so.10"):
        (tmp_path / "nvidia" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nvidia" / name).touch()
    (tmp_path / "nvidia" / "cublas" / "lib").mkdir(parents=True)
    (tmp_path / "nvidia" / "cublas" / "lib" / "libcublas.so.12").touch()
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "nvidia")])
    monkeypatch.setattr(providers.importlib.util, "find_spec", lambda name: spec)

    def found(name: str, major: int) -> list[str]:
        return [str(Path(path).relative_to(tmp_path / "nvidia")) for path in providers._in_packages(name, major)]

    assert found("libcudart.so.13", 13) == ["cu13/lib/libcudart.so.13"]
    assert found("libcudnn.so.9", 13) == ["cudnn/lib/libcudnn.so.9"]
    assert found("libcurand.so.10", 13) == []
    assert found("libcublas.so.12", 12) == ["cublas/lib/libcublas.so.12"]


def test_what_does_not_load_is_missing_and_what_does_is_not(tmp_path: Path) -> None:
    (tmp_path / "libbroken.so").write_bytes(b"no library")
    assert not providers._loads(str(tmp_path / "libbroken.so"))
    assert not providers._loads("libnone.so.7")
    assert providers._loads(ctypes.util.find_library("m") or "libm.so.6")


def test_cuda_computes_no_tf32_and_searches_no_algorithms() -> None:
    first, second = Provider("CUDAExecutionProvider", "", 0), Provider("CUDAExecutionProvider", "", 1)
    assert first.options(None) == {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    assert second.options(77) == {**first.options(None), "device_id": "1", "user_compute_stream": "77"}
    assert find_provider("cpu").options(None) == {}


@pytest.mark.parametrize("device", ["tpu", "CPU", "cuda:x", "cuda:", "cuda:-1", "cuda:1000", "cpu:0", "cuda:\u0661"])
def test_an_unknown_device_is_refused_with_the_known_ones(device: str) -> None:
    with pytest.raises(SessionError, match=r"choose one of: cpu, cuda, cuda:N"):
        find_provider(device)


def test_the_tensorrt_provider_is_refused_with_the_session_that_does_its_work() -> None:
    with pytest.raises(SessionError, match=r"as they were verified: .*--engine tensorrt.*--session tensorrt"):
        find_provider("tensorrt")
