"""The NVIDIA GPUs of this machine, as the driver reports them; needs no CUDA library."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Device", "driver_starts", "find_device", "has_gpu", "is_jetson", "pci_address", "why_no_device"]

_JETSON = "/etc/nv_tegra_release"
"""The file in which JetPack says its release."""

_NVIDIA, _DISPLAY = "0x10de", "0x03"
"""A vendor, and the class of devices that draw, on the PCI bus."""

_NO_DEVICE = 100
# What cuInit says of a driver that is there but does not start: CUresult of cuda.h, and 35 of CUDA's runtime.
_PROBLEMS = {
    35: "the NVIDIA driver is too old for its CUDA library; update the driver",
    802: "the NVIDIA driver is not ready; wait, or restart the machine (and, with NVSwitch, the Fabric Manager)",
    803: "the NVIDIA driver and its CUDA library are of different versions; restart the machine, or install both again",
    804: "the CUDA library needs a newer driver on this GPU; update it, or leave out CUDA's compatibility package",
    999: "the NVIDIA driver does not start; restart the machine, or give the container its GPUs",
}


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU.

    Attributes:
        name: the name that the driver reports: "NVIDIA GeForce RTX 4090".
        compute_capability: the compute capability: "8.9".
        cuda: the newest CUDA version that the driver supports: "13.0".
    """

    name: str
    compute_capability: str
    cuda: str


def find_device(ordinal: int = 0) -> Device | None:
    """Return a GPU by its number, or None if there is no driver or no such GPU. Creates no CUDA context."""
    driver = _driver()
    if driver is None or driver.cuInit(0) or not 0 <= ordinal < _count(driver):
        return None
    handle, version, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(handle), ordinal)
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDriverGetVersion(ctypes.byref(version))
    capability = f"{_attribute(driver, handle, 75)}.{_attribute(driver, handle, 76)}"  # ..._CAPABILITY_MAJOR, _MINOR
    return Device(
        name.value.decode(errors="replace"), capability, f"{version.value // 1000}.{version.value % 1000 // 10}"
    )


def pci_address(ordinal: int = 0) -> str | None:
    """Return where a GPU is on the PCI bus ("0000:65:00.0"), by which other libraries know it; None without a GPU."""
    driver = _driver()
    if driver is None or driver.cuInit(0) or not 0 <= ordinal < _count(driver):
        return None
    handle, address = ctypes.c_int(), ctypes.create_string_buffer(32)
    driver.cuDeviceGet(ctypes.byref(handle), ordinal)
    failed = driver.cuDeviceGetPCIBusId(address, len(address), handle)
    return None if failed else address.value.decode()


def why_no_device(ordinal: int = 0) -> str:
    """Return the reason why find_device gives None, with a remedy where the driver is what is wrong."""
    driver = _driver()
    if driver is None:
        missing = f"no NVIDIA GPU {ordinal} with a driver was found here ({_driver_name()} is missing)"
        return f"{missing}: install NVIDIA's driver"
    result = driver.cuInit(0)
    if result and result != _NO_DEVICE:
        return _PROBLEMS.get(result, "the NVIDIA driver does not start; install it again") + f" (CUDA error {result})"
    return f"no NVIDIA GPU {ordinal} was found here ({0 if result else _count(driver)} in all): give another number"


def driver_starts() -> bool | None:
    """Return whether the driver starts, even if it finds no GPU; None where there is none."""
    driver = _driver()
    return None if driver is None else driver.cuInit(0) in (0, _NO_DEVICE)


def has_gpu(root: str = "/") -> bool:
    """Return whether Linux sees an NVIDIA GPU on the PCI bus, or this is a Jetson, whether or not there is a driver."""
    for device in Path(root, "sys/bus/pci/devices").glob("*"):
        with contextlib.suppress(OSError):
            kind, vendor = ((device / name).read_text().strip() for name in ("class", "vendor"))
            if vendor == _NVIDIA and kind.startswith(_DISPLAY):
                return True
    return is_jetson()


def is_jetson() -> bool:
    """Return whether this is a Jetson with JetPack."""
    return os.path.exists(_JETSON)


def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(_driver_name())
    except OSError:
        return None


def _driver_name() -> str:
    return "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def _count(driver: ctypes.CDLL) -> int:
    count = ctypes.c_int()
    return 0 if driver.cuDeviceGetCount(ctypes.byref(count)) else count.value


def _attribute(driver: ctypes.CDLL, handle: ctypes.c_int, attribute: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
    return value.value
