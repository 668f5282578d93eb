"""What is tried, the order of what was found, the extras, the devices, and what Python itself tells of the machine."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cv2
import pytest

from reid.runtime.doctor import extras
from reid.runtime.doctor.check import Check
from reid.runtime.doctor.devices import check_cuda_package, check_gpu, check_pictures
from reid.runtime.doctor.diagnosis import Diagnosis, Remedy, find_subjects
from reid.runtime.doctor.extras import check_extras
from reid.runtime.doctor.machine import check_cache, check_disk
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.gpu import Device, has_gpu
from reid.runtime.installs import EXTRAS

PROJECT = (Path(__file__).parents[3] / "pyproject.toml").read_text()


def silent(doing: str) -> None: ...


def test_the_worst_comes_last_and_the_most_useful_command_first() -> None:
    found = Diagnosis(
        sessions=(
            Check("a", "missing", "", "install a"),
            Check("b", "broken", "", "mend b"),
            Check("c", "not for this machine", ""),
        ),
        machine=(Check("d", "works", ""), Check("e", "broken", "", "mend e"), Check("f", "broken", "")),
        extras=(Check("g", "missing", "", "install a"), Check("h", "missing", "", "install h")),
    )
    assert not found.works
    assert [check.name for check in found.checks] == ["d", "c", "a", "g", "h", "b", "e", "f"]
    assert found.remedies == (
        Remedy("mend b", ("b",)),
        Remedy("install a", ("a", "g")),
        Remedy("mend e", ("e",)),
        Remedy("install h", ("h",)),
    )


def test_a_session_that_is_not_for_the_models_kind_is_left_out(whole_bundle: Path, checkpoint: Path) -> None:
    assert [subject.name for subject in find_subjects("openvino")] == ["openvino"]
    assert [subject.name for subject in find_subjects(model=checkpoint)] == ["torch"]
    assert [subject.name for subject in find_subjects(model=whole_bundle / "model.int8.onnx")] == [
        *("onnxruntime:cpu", "onnxruntime:cuda", "openvino")
    ]
    subjects = find_subjects(model=whole_bundle)
    precisions = ("fp32", "fp16", "int8")
    graphs = [f"{name} {one}" for name in ("onnxruntime:cpu", "onnxruntime:cuda", "openvino") for one in precisions]
    assert [subject.name for subject in subjects] == [*graphs, "tensorrt", "tensorrt-rtx"]
    refusals = [subject.refusal for subject in subjects if subject.refusal]
    assert [command.rpartition(" --engine ")[2] for _, command in refusals] == ["tensorrt", "tensorrt-rtx"]
    with pytest.raises(SessionError, match=r"unknown session 'quantum'; choose one of: onnxruntime, openvino, "):
        find_subjects("quantum:1")
    with pytest.raises(ModelError, match="nowhere: no such model"):
        find_subjects(model=Path("nowhere"))


def packages_of(extra: str) -> set[str]:
    """The packages that an extra of pyproject.toml names itself."""
    (requirements,) = re.findall(rf"^{extra} = \[(.*?)\]$", PROJECT, re.MULTILINE | re.DOTALL)
    return {name for name in re.findall(r'"([\w-]+)[^"]*"', requirements) if name != "reid"}


def test_the_extras_are_those_of_the_project() -> None:
    (table,) = re.findall(r"^\[project\.optional-dependencies\]\n(.*?)^\[", PROJECT, re.MULTILINE | re.DOTALL)
    names = set(re.findall(r"^(\w+) = \[", table, re.MULTILINE)) - {"dev", "docs"}
    assert {extra.name for extra in EXTRAS} == names
    for extra in EXTRAS:
        known = {one for packages in extra.packages for one in packages.split("|")}
        named = {re.sub("-cu13$", "", name) for name in packages_of(extra.name)} - {"onnxruntime-gpu"}
        assert named <= known
        assert known - named <= {"cuda-bindings", "onnx"}  # in place of pycuda; of the extra onnx, in export


def test_extras_are_installed_missing_too_old_or_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"openvino": "2024.1", "torch": "2.7", "timm": "1.0.15", "lancedb": "0.40"}
    monkeypatch.setattr(extras, "installed_version", versions.get)
    monkeypatch.setattr(extras, "find_spec", lambda module: module == "tensorrt" or None)  # JetPack's, without metadata
    by_name = {check.name: check for check in check_extras(has_gpu=False)}
    assert (by_name["reid[cpu]"].state, by_name["reid[cpu]"].remedy) == ("broken", "pip install 'openvino>=2025.3'")
    assert by_name["reid[train]"].detail.endswith("not installed: torchvision, safetensors, tensorboard")
    assert by_name["reid[train]"].remedy == "pip install 'reid[train]'"
    assert by_name["reid[lance]"].state == "works"
    assert {by_name[name].state for name in ("reid[gpu]", "reid[nvimgcodec]", "reid[bench]")} == {
        "not for this machine"
    }
    with_gpu = {check.name: check for check in check_extras(has_gpu=True)}
    assert with_gpu["reid[gpu]"].detail.endswith("not installed: pycuda")
    versions["cuda-bindings"] = "13.0"
    with_gpu = {check.name: check for check in check_extras(has_gpu=True)}
    assert with_gpu["reid[gpu]"].detail.startswith("tensorrt of the system, cuda-bindings 13.0; ")


def test_a_format_that_opencv_does_not_decode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "haveImageWriter", lambda name: name != ".avif")
    found = check_pictures("pictures", silent)
    assert (found.state, found.remedy) == ("missing", "pip install --upgrade opencv-python-headless")
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    found = check_pictures("pictures", silent)
    assert found.state == "broken"
    assert found.detail.endswith("does not decode JPEG, PNG, WebP, AVIF")


def test_a_gpu_without_a_driver_that_starts_is_no_gpu_that_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, vendor, kind in (("0000:00:02.0", "0x8086", "0x030000"), ("0000:01:00.1", "0x10de", "0x040300")):
        device = tmp_path / "sys/bus/pci/devices" / name
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    assert not has_gpu(str(tmp_path))
    (device / "class").write_text("0x030200\n")
    assert has_gpu(str(tmp_path))
    where = "reid.runtime.doctor.devices"
    monkeypatch.setattr(f"{where}.find_device", lambda ordinal=0: None)
    states = {}
    for starts in (None, True, False):
        for there in (True, False):
            monkeypatch.setattr(f"{where}.driver_starts", lambda value=starts: value)
            monkeypatch.setattr(f"{where}.has_gpu", lambda value=there: value)
            states[starts, there] = check_gpu("GPU", silent).state
    assert {state for (starts, _), state in states.items() if starts is False} == {"broken"}
    assert states[None, True] == states[True, True] == "missing"
    assert states[None, False] == states[True, False] == "not for this machine"
    gpus = [Device("one", "8.9", "13.0"), Device("two", "7.5", "13.0")]
    monkeypatch.setattr(f"{where}.find_device", lambda ordinal=0: gpus[ordinal] if ordinal < 2 else None)
    found = check_gpu("GPU", silent)
    assert found.detail == "one (compute capability 8.9), two (compute capability 7.5); driver for CUDA 13.0"


def test_what_drives_cuda_is_named_or_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    monkeypatch.setattr("reid.runtime.installs._can_build_pycuda", lambda: False)
    found = check_cuda_package("CUDA", silent)
    assert (found.state, found.remedy) == ("missing", "pip install cuda-bindings")


def test_a_full_disk_and_a_cache_that_is_not_ours_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 2**29}))
    assert check_disk(tmp_path).state == "broken"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert check_cache() == Check("cache", "works", f"{tmp_path}/reid/self-checks")
    folder = tmp_path / "reid" / "self-checks"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    found = check_cache()
    assert (found.state, found.remedy) == ("broken", f"chmod 700 {folder}")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert check_cache().state == "broken"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "nowhere")
    assert check_cache().state == "missing"
