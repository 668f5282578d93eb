"""The facts of NVIDIA's GPUs and of Jetson modules."""

from __future__ import annotations

import os
import re
from typing import Final

from reid.bench.environment import Gpu, Jetson
from reid.bench.meters.jetson import JetsonGpu
from reid.bench.meters.nvml import Nvml
from reid.bench.meters.tree import Tree
from reid.runtime.gpu import find_device

__all__ = ["describe_gpu", "describe_jetson"]

_MODES: Final = "etc/nvpmodel.conf"
_MODE: Final = "var/lib/nvpmodel/status"


def describe_gpu(gpu: Nvml) -> Gpu:
    """Ask the driver for the facts of a GPU; of one that is divided, CUDA tells the name of the part that it uses."""
    nvml = gpu.module
    memory, capability = gpu.ask("nvmlDeviceGetMemoryInfo"), gpu.ask("nvmlDeviceGetCudaComputeCapability")
    limit, persistence = gpu.ask("nvmlDeviceGetEnforcedPowerLimit"), gpu.ask("nvmlDeviceGetPersistenceMode")
    clocks = [gpu.ask("nvmlDeviceGetMaxClockInfo", kind) for kind in (nvml.NVML_CLOCK_SM, nvml.NVML_CLOCK_MEM)]
    divided = gpu.is_divided()
    part = find_device(gpu.ordinal) if divided else None
    return Gpu(
        name=part.name if part else _text(gpu.ask("nvmlDeviceGetName")),
        compute_capability="{}.{}".format(*capability) if capability else "",
        driver=_driver(gpu),
        cuda=_cuda(gpu),
        memory_mib=memory.total / 2**20 if memory and not divided else None,
        power_limit_w=None if limit is None else limit / 1e3,
        clock_mhz=None if None in clocks else (clocks[0], clocks[1]),
        persistence=None if persistence is None else persistence == nvml.NVML_FEATURE_ENABLED,
        mig=divided,
        other_processes=gpu.others([os.getpid()]),
    )


def describe_jetson(tree: Tree, gpu: JetsonGpu | None) -> Jetson:
    """Read the facts of a Jetson."""
    limits = gpu.clock_limits_mhz() if gpu else None
    return Jetson(
        model=tree.text("proc/device-tree/model") or tree.text("sys/firmware/devicetree/base/model") or "unknown",
        release=_release(tree),
        power_mode=_power_mode(tree),
        gpu_clock_mhz=limits,
        clocks_fixed=_clocks_fixed(tree, limits),
    )


def _release(tree: Tree) -> str:
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", tree.text("etc/nv_tegra_release") or "")
    return ".".join(found.groups()) if found else ""


def _power_mode(tree: Tree) -> str:
    """Return the name of the mode that nvpmodel has stored ("pmode:0002"), else its number."""
    mode = re.search(r"pmode:(\d+)", tree.text(_MODE) or "")
    if mode is None:
        return ""
    number = int(mode.group(1))
    name = re.search(rf"^<\s*POWER_MODEL\s+ID={number}\s+NAME=(\S+)\s*>", tree.text(_MODES) or "", re.MULTILINE)
    return name.group(1) if name else str(number)


def _clocks_fixed(tree: Tree, gpu_limits: tuple[float, float] | None) -> bool | None:
    """Return whether the GPU and every CPU have the same lowest and highest clock: what `jetson_clocks` does."""
    folders = tree.find("sys/devices/system/cpu/cpu[0-9]*/cpufreq")
    limits = [(tree.integer(f"{path}/scaling_min_freq"), tree.integer(f"{path}/scaling_max_freq")) for path in folders]
    if gpu_limits is None or not limits:
        return None
    return gpu_limits[0] == gpu_limits[1] and all(low == high for low, high in limits)


def _driver(gpu: Nvml) -> str:
    try:
        return _text(gpu.module.nvmlSystemGetDriverVersion())
    except gpu.module.NVMLError:
        return ""


def _cuda(gpu: Nvml) -> str:
    try:
        version = gpu.module.nvmlSystemGetCudaDriverVersion()
    except gpu.module.NVMLError:
        return ""
    return f"{version // 1000}.{version % 1000 // 10}"


def _text(answer: str | bytes | None) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer or ""  # bytes in older versions
