"""Find the meters that there are on a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from reid.bench.meters.cpu_time import read_cpu_time, usable_cpus
from reid.bench.meters.energy import EnergyCounter, PowerGauge
from reid.bench.meters.jetson import JetsonGpu, is_jetson, open_jetson_gpu
from reid.bench.meters.missing import Missing
from reid.bench.meters.nvml import GpuCounter, GpuGauge, Nvml, open_nvml
from reid.bench.meters.processor import CpuClock, open_cpu_clock, open_cpu_throttling
from reid.bench.meters.rails import open_rails
from reid.bench.meters.rapl import open_rapl
from reid.bench.meters.sampler import Gauge
from reid.bench.meters.tree import Tree
from reid.bench.meters.turns import Computes, DeviceMeters, Meters
from reid.runtime.gpu import pci_address

__all__ = ["open_meters"]


def open_meters(
    root: str = "/",
    *,
    gpu: int = 0,
    nvml: Any = None,  # noqa: ANN401 - a module
    locate: Callable[[int], str | None] = pci_address,
) -> Meters:
    """Open all meters that there are.

    Args:
        root: the folder that holds the machine's files.
        gpu: CUDA's number of the GPU.
        nvml: what stands in for `pynvml`; None for the installed one.
        locate: tells a GPU's PCI address.
    """
    tree = Tree(root)
    cpus = usable_cpus(tree)
    clock, throttling = open_cpu_clock(tree, cpus), open_cpu_throttling(tree, cpus)
    missing: list[Missing] = []
    if is_jetson(tree):
        devices, device, lacks = _jetson(tree, clock)
    else:
        devices, device, lacks = _with_nvml(tree, clock, open_nvml(nvml, ordinal=gpu, locate=locate))
        missing += [throttling] if isinstance(throttling, Missing) else []
    missing = [*lacks, *([clock] if isinstance(clock, Missing) else []), *missing, *_untold(tree, cpus)]
    counters = None if isinstance(throttling, Missing) else throttling
    return Meters(tree, cpus, device, devices, counters, tuple(missing))


_Opened: TypeAlias = "tuple[dict[Computes, DeviceMeters], Nvml | JetsonGpu | None, list[Missing]]"


def _jetson(tree: Tree, clock: CpuClock | Missing) -> _Opened:
    """Open a Jetson's meters: the input of the module is the energy of either part."""
    rails, gpu = open_rails(tree), open_jetson_gpu(tree)
    gauges: tuple[PowerGauge, ...] = () if isinstance(rails, Missing) else (rails,)
    found = None if isinstance(gpu, Missing) else gpu
    sign = found.throttling if found else _no_sign
    devices: dict[Computes, DeviceMeters] = {
        "cpu": DeviceMeters((), gauges, _clock(clock), sign),
        "gpu": DeviceMeters((), gauges, found.clock_mhz if found else None, sign),
    }
    return devices, found, [meter for meter in (rails, gpu) if isinstance(meter, Missing)]


def _with_nvml(tree: Tree, clock: CpuClock | Missing, gpu: Nvml | Missing) -> _Opened:
    """Open the processor's meters and those of a GPU beside it."""
    rapl = open_rapl(tree)
    counters: tuple[EnergyCounter, ...] = () if isinstance(rapl, Missing) else (rapl,)
    lacks = [rapl] if isinstance(rapl, Missing) else []
    devices: dict[Computes, DeviceMeters] = {"cpu": DeviceMeters(counters, (), _clock(clock), _no_sign)}
    if isinstance(gpu, Missing):
        devices["gpu"] = DeviceMeters((), (), None, _no_sign)
        return devices, None, [*lacks, *([] if gpu.cause == "absent" else [gpu])]
    energy = gpu.energy()
    if isinstance(energy, GpuCounter):
        devices["gpu"] = DeviceMeters((energy, *counters), (), gpu.clock_mhz, gpu.throttling)
    elif isinstance(energy, GpuGauge):
        devices["gpu"] = DeviceMeters(counters, (energy,), gpu.clock_mhz, gpu.throttling)
    else:  # the processor's share alone would be taken for the whole
        devices["gpu"], lacks = DeviceMeters((), (), gpu.clock_mhz, gpu.throttling), [*lacks, energy]
    return devices, gpu, lacks


def _untold(tree: Tree, cpus: frozenset[int]) -> list[Missing]:
    times = read_cpu_time(tree, cpus, ())
    return [] if times.busy is not None else [Missing("other processes", "absent", tree.full("proc/stat"))]


def _clock(clock: CpuClock | Missing) -> Gauge | None:
    return None if isinstance(clock, Missing) else clock.megahertz


def _no_sign() -> frozenset[str]:
    return frozenset()
