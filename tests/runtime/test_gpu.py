"""The driver is a stand-in with the functions that are called, except where there is a GPU."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from reid.runtime import gpu
from reid.runtime.gpu import Device, find_device, pci_address, why_no_device
from reid.runtime.tensorrt_api import release


class Driver:
    """A driver whose cuInit gives a result, with a number of GPUs."""

    def __init__(self, result: int = 0, count: int = 1) -> None:
        self.result, self.count = result, count

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.result

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: ANN401, N802
        count._obj.value = self.count
        return self.result

    def cuDeviceGet(self, handle: Any, ordinal: int) -> int:  # noqa: ANN401, N802
        handle._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, name: Any, size: int, handle: ctypes.c_int) -> int:  # noqa: ANN401, N802
        name.value = f"NVIDIA L4 {handle.value}".encode()
        return 0

    def cuDeviceGetPCIBusId(self, address: Any, size: int, handle: ctypes.c_int) -> int:  # noqa: ANN401, N802
        address.value = f"0000:{handle.value:02x}:00.0".encode()
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: ANN401, N802
        version._obj.value = 13020
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, handle: ctypes.c_int) -> int:  # noqa: ANN401, N802
        value._obj.value = {75: 8, 76: 9}[attribute]
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    found = Driver()
    monkeypatch.setattr("ctypes.CDLL", lambda name: found)
    return found


def test_gpus_are_described_by_the_driver(driver: Driver) -> None:
    driver.count = 2
    assert find_device(1) == Device("NVIDIA L4 1", "8.9", "13.2")
    assert find_device(2) is None
    assert find_device(-1) is None
    assert why_no_device(2) == "no NVIDIA GPU 2 was found here (2 in all): give another number"


def test_a_gpu_has_the_address_by_which_other_libraries_know_it(driver: Driver) -> None:
    driver.count = 12
    assert pci_address(10) == "0000:0a:00.0"
    assert pci_address(12) is None


def test_without_a_driver_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", no_driver)
    assert find_device() is None
    assert pci_address() is None
    assert "with a driver was found here (libcuda.so.1 is missing): install" in why_no_device()


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (100, "no NVIDIA GPU 0 was found here (0 in all)"),
        (35, "too old for its CUDA library; update the driver (CUDA error 35)"),
        (803, "of different versions; restart the machine, or install both again (CUDA error 803)"),
        (999, "does not start; restart the machine, or give the container its GPUs (CUDA error 999)"),
        (1, "does not start; install it again (CUDA error 1)"),
    ],
)
def test_a_driver_that_does_not_start_is_not_taken_for_no_gpu(driver: Driver, result: int, says: str) -> None:
    driver.result = result
    assert find_device() is None
    assert says in why_no_device()
    assert ("no NVIDIA GPU" in why_no_device()) == (result == 100)


def test_on_windows_the_driver_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("ctypes.CDLL", lambda name: asked.append(name) or Driver())
    assert find_device() is not None
    assert asked == ["nvcuda.dll"]


def test_a_jetson_is_known_by_jetpacks_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:  # noqa: ANN401
    monkeypatch.setattr(gpu, "_JETSON", str(tmp_path / "nv_tegra_release"))
    assert not gpu.is_jetson()
    (tmp_path / "nv_tegra_release").write_text("# R36 (release), REVISION: 4.3")
    assert gpu.is_jetson()


@pytest.mark.gpu
def test_a_gpu_is_described_by_its_driver() -> None:
    device = find_device()
    assert device is not None
    assert device.name
    assert release(device.compute_capability) >= (5, 0)
    assert release(device.cuda) >= (11, 0)
    assert find_device(999) is None
