"""The check of a session: of another package's, which fails in every way, and of ours with parts missing."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from frail_library import install_frail

from reid.runtime.doctor import sessions
from reid.runtime.doctor.apart import check_apart
from reid.runtime.doctor.check import Check
from reid.runtime.doctor.sessions import check_session, session_names
from reid.runtime.gpu import Device
from reid.runtime.sessions.onnxruntime_providers import has_cuda

FUNCTION = "reid.runtime.doctor.sessions:check_session"
AGAIN = "pip install it again"


@pytest.fixture
def frail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package with a session of its own, which processes find."""
    folder = install_frail(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.mark.usefixtures("frail")
@pytest.mark.parametrize(
    ("device", "state", "detail", "remedy"),
    [
        ("works", "works", r"ONNX Runtime \S+ on CPU: fp32", None),
        ("wrong", "broken", r"fp32: .* embeds .* unlike PyTorch \(cosine similarity .*", None),
        ("refuse", "broken", "FrailExecutionProvider did not start", None),
        ("raise", "broken", "KeyError: 'a table of ours'", None),
        ("need", "missing", "it needs timm, which is not installed", "pip install 'reid[train]'"),
        ("crash", "broken", "its process was killed by SIGSEGV while opening fp32.*: some library talks .*", AGAIN),
        ("exit", "broken", "its process ended with exit code 7 while opening fp32.*", AGAIN),
    ],
)
def test_a_session_is_found_as_it_is(device: str, state: str, detail: str, remedy: str | None) -> None:
    found = check_apart("frail", FUNCTION, f"frail:{device}", timeout_s=300, remedy=AGAIN)
    assert (found.name, found.state, found.remedy) == ("frail", state, remedy)
    assert re.fullmatch(detail, found.detail), found.detail


@pytest.mark.usefixtures("frail")
def test_what_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    found = check_apart("frail", "frail_library:hang", str(child), timeout_s=10, remedy=AGAIN)
    assert found == Check("frail", "broken", "it took longer than 10 s while hanging", AGAIN)
    assert ended(Path(f"/proc/{child.read_text()}/status"))


def ended(status: Path) -> bool:
    """Wait until a process that was killed is gone, or a zombie: the signal comes before its end."""
    for _ in range(600):
        try:
            if "\nState:\tZ" in status.read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_every_session_of_every_package_is_tried(frail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(frail))
    ours = ("onnxruntime:cpu", "onnxruntime:cuda", "openvino", "tensorrt", "tensorrt-rtx", "torch")
    assert session_names() == ("frail", *ours)


def check(session: str) -> Check:
    return check_session(session, lambda doing: None, session)


def test_a_library_that_is_not_installed_or_too_old_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_try", None)
    monkeypatch.setattr(sessions, "is_there", lambda package: package != "openvino")
    assert check("openvino") == Check("openvino", "missing", "openvino is not installed", "pip install 'reid[cpu]'")
    monkeypatch.setattr(sessions, "installed_version", lambda package: "1.20.1")
    found = check("onnxruntime:cpu")
    assert (found.state, found.detail) == ("broken", "onnxruntime 1.20.1 is older than 1.21")
    assert found.remedy
    assert found.remedy.endswith(">=1.21'")


def test_without_a_gpu_its_sessions_are_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "find_device", lambda ordinal: None)
    monkeypatch.setattr("reid.runtime.doctor.devices.find_device", lambda: None)
    monkeypatch.setattr("reid.runtime.doctor.devices.driver_starts", lambda: None)
    monkeypatch.setattr("reid.runtime.doctor.devices.has_gpu", lambda: False)
    for name in ("onnxruntime:cuda", "onnxruntime:cuda:1", "tensorrt", "tensorrt-rtx:0"):
        assert check(name) == Check(name, "not for this machine", "there is no NVIDIA GPU")
    monkeypatch.setattr("reid.runtime.doctor.devices.has_gpu", lambda: True)
    found = check("tensorrt")
    assert found.state == "missing"
    assert "driver" in found.detail


@pytest.mark.parametrize(
    ("machine", "has_cuda", "missing", "state", "detail"),
    [
        ("x86_64", False, "", "missing", "this ONNX Runtime is for CPUs alone"),
        ("aarch64", False, "", "not for this machine", "ONNX Runtime for GPUs is for x86-64; use tensorrt"),
        ("x86_64", True, "libcudnn.so.9", "missing", "libcudnn.so.9 does not load"),
    ],
)
def test_what_onnx_runtime_lacks_for_cuda_is_named(
    machine: str, has_cuda: bool, missing: str, state: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "find_device", lambda ordinal: Device("a GPU", "8.9", "13.0"))
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("reid.runtime.sessions.onnxruntime_providers.has_cuda", lambda: has_cuda)
    monkeypatch.setattr("reid.runtime.sessions.onnxruntime_providers.missing_library", lambda: missing)
    found = check("onnxruntime:cuda")
    assert (found.state, found.detail) == (state, detail)
    assert (found.remedy is None) == (state == "not for this machine")


def test_a_provider_that_does_not_start_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is none, whatever the doctor is told: so ONNX Runtime's own provider fails as on a real machine."""
    if os.path.exists("/dev/nvidia0"):
        pytest.skip("the provider starts here")
    monkeypatch.setattr(sessions, "find_device", lambda ordinal: Device("a GPU", "8.9", "13.0"))
    monkeypatch.setattr("reid.runtime.doctor.sessions._without_cuda", lambda name, doing: None)
    found = check("onnxruntime:cuda")
    assert found.state == "broken"
    reason = "no NVIDIA GPU" if has_cuda() else "this ONNX Runtime has no CUDAExecutionProvider"
    assert f"CUDAExecutionProvider cannot start: {reason}" in found.detail
    assert "reid-doctor" not in found.detail


@pytest.mark.parametrize(("capability", "state"), [("9.0", "not for this machine"), ("8.9", None)])
def test_a_gpu_that_tensorrt_rtx_does_not_know_is_nothing_to_mend(
    capability: str, state: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = SimpleNamespace(__version__="1.7", ComputeCapability=SimpleNamespace(__members__={"SM75": 0, "SM89": 1}))
    monkeypatch.setattr(sessions, "find_device", lambda ordinal: Device("a GPU", capability, "13.0"))
    monkeypatch.setattr(sessions, "is_there", lambda package: True)
    monkeypatch.setattr(sessions, "import_tensorrt", lambda flavor: api)
    absent = sessions._absent("tensorrt-rtx", "tensorrt-rtx", lambda doing: None)
    assert (absent and absent.state) == state


def test_for_a_device_that_does_not_exist_nothing_is_installed_again() -> None:
    found = check("openvino:gpu")
    assert (found.state, found.remedy) == ("broken", None)
    assert "use openvino:cpu" in found.detail
    assert sessions.reinstall("openvino") == "pip install --force-reinstall openvino"
