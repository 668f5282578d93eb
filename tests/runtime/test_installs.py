"""What brings a package to a machine, of which there are many kinds."""

from __future__ import annotations

import shlex

import pytest

from reid.runtime import installs, versions
from reid.runtime.gpu import Device
from reid.runtime.installs import PACKAGES, how_to_install, how_to_reinstall, how_to_update
from reid.runtime.versions import installed_name, is_older, least_version


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installs, "is_jetson", lambda: True)


@pytest.mark.parametrize("package", sorted({*PACKAGES, "torch-tensorrt"}))
def test_every_command_is_one_that_a_shell_takes(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installs, "is_installed", lambda name: False)  # a test below is about two ONNX Runtimes
    for install in (how_to_install(package), how_to_reinstall(package), how_to_update(package, "0")):
        assert shlex.split(install.command)[:2] == ["pip", "install"]
        assert str(install) == install.command + install.note


@pytest.mark.usefixtures("jetson")
def test_a_jetson_has_packages_of_its_own() -> None:
    assert how_to_install("tensorrt").command == "sudo apt install tensorrt"
    assert how_to_update("tensorrt", "8.6").command == "sudo apt install --only-upgrade tensorrt"
    assert how_to_reinstall("tensorrt").command == "sudo apt install --reinstall tensorrt"
    assert how_to_install("nvidia-nvimgcodec").command == "pip install nvidia-nvimgcodec-tegra-cu12"
    assert how_to_install("openvino").command == "pip install 'reid[cpu]'"


@pytest.mark.parametrize(("cuda", "kind"), [("12.8", "cu12"), ("13.0", "cu13"), (None, "cu13")])
def test_nvimgcodec_is_the_one_for_the_driver(cuda: str | None, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Device("a GPU", "8.9", cuda) if cuda else None
    monkeypatch.setattr(installs, "find_device", lambda: gpu)
    assert how_to_install("nvidia-nvimgcodec").command == f"pip install 'nvidia-nvimgcodec-{kind}[nvjpeg]'"


@pytest.mark.parametrize(
    ("programs", "command"),
    [
        (("nvcc", "g++"), "pip install --upgrade 'reid[gpu]'"),
        (("nvcc",), "pip install cuda-bindings"),
        ((), "pip install cuda-bindings"),
    ],
)
def test_pycuda_is_built_only_where_it_can_be(
    programs: tuple[str, ...], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name if name in programs else None)
    assert how_to_install("pycuda").command == command
    assert "'reid[gpu]'" in str(how_to_install("pycuda"))
    assert "cuda-bindings" in str(how_to_install("pycuda"))


def test_of_two_packages_in_one_folder_both_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"onnxruntime": "1.31.0", "onnxruntime-gpu": "1.30.0"}
    monkeypatch.setattr(versions, "_version", there.get)
    command = "pip uninstall --yes onnxruntime onnxruntime-gpu && pip install 'reid[gpu]'"
    assert how_to_install("onnxruntime-gpu").command == command
    again = "pip uninstall --yes onnxruntime && pip install --force-reinstall onnxruntime-gpu"
    assert how_to_reinstall("onnxruntime").command == again
    assert installed_name("onnxruntime", "1.31.0") == "onnxruntime"
    del there["onnxruntime"]
    assert how_to_install("onnxruntime-gpu").command == "pip install 'reid[gpu]'"


@pytest.mark.parametrize("package", ["onnxruntime", "openvino", "pyarrow", "tensorrt", "nvidia-nvimgcodec", "torch"])
def test_the_least_version_is_that_of_the_project(package: str) -> None:
    assert least_version(package)[:1].isdigit()
    assert is_older("0.0.1", least_version(package))
    assert least_version("a-package-that-nobody-has") == ""
