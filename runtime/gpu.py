"""The NVIDIA GPUs of this machine, as the driver reports them; needs no CUDA library."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

__all__ = ["Device", "find_device"]


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
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    handle, version, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not 0 <= ordinal < count.value:
        return None
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(handle), ordinal)
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDriverGetVersion(ctypes.byref(version))
    capability = f"{_attribute(driver, handle, 75)}.{_attribute(driver, handle, 76)}"  # ..._CAPABILITY_MAJOR, _MINOR
    return Device(
        name.value.decode(errors="replace"), capability, f"{version.value // 1000}.{version.value % 1000 // 10}"
    )


def _attribute(driver: ctypes.CDLL, handle: ctypes.c_int, attribute: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
    return value.value
