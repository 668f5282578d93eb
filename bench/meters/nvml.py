"""A GPU's energy, clock, throttling and memory, as NVIDIA's management library (NVML) reports them.

See https://docs.nvidia.com/deploy/nvml-api/. The library's Python module is `pynvml`, of the package nvidia-ml-py. It
is an argument here, so that tests can stand in for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from reid.bench.meters.energy import Part
from reid.bench.meters.missing import Missing

__all__ = ["GpuCounter", "GpuGauge", "Nvml", "open_nvml"]

_THROTTLING: Final = {
    "HwSlowdown": "hardware slowdown",
    "HwThermalSlowdown": "temperature (hardware)",
    "HwPowerBrakeSlowdown": "power brake",
    "SwThermalSlowdown": "temperature (driver)",
}
"""NVML's reasons for lower clocks that do not belong to normal work.

The power cap is not among them: a T4 runs into it with every large batch. It is a property of the card, and the
environment has its limit; what the card does within it is what it is worth.
"""


@dataclass(frozen=True, slots=True)
class Nvml:
    """A GPU, through NVML.

    Attributes:
        module: `pynvml`, or what stands in for it.
        handle: NVML's handle of the GPU; of the whole one, where CUDA sees only a part of it (MIG).
        ordinal: CUDA's number of the GPU.
    """

    module: Any
    handle: Any
    ordinal: int = 0

    def ask(self, function: str, *arguments: Any) -> Any:  # noqa: ANN401 - whatever NVML answers
        """Call a function of NVML for this GPU; None where the GPU or the driver does not support it, or is gone."""
        try:
            return getattr(self.module, function)(self.handle, *arguments)
        except self.module.NVMLError:
            return None

    def energy(self) -> GpuCounter | GpuGauge | Missing:
        """Return the counter of this GPU's energy, else the gauge of its power, or why there is neither."""
        if self.is_divided():
            return Missing("energy", "divided", "the GPU")
        for meter in (GpuCounter(self), GpuGauge(self)):
            if meter.is_there():
                return meter
        return Missing("energy", "no_answer", "the GPU's driver")

    def is_divided(self) -> bool | None:
        """Return whether the GPU is divided (Multi-Instance GPU); None where it does not say."""
        mode = self.ask("nvmlDeviceGetMigMode")
        return None if mode is None else bool(mode[0] == self.module.NVML_DEVICE_MIG_ENABLE)

    def clock_mhz(self) -> float | None:
        """Return the clock of the multiprocessors at this moment."""
        clock = self.ask("nvmlDeviceGetClockInfo", self.module.NVML_CLOCK_SM)
        return None if clock is None else float(clock)

    def throttling(self) -> frozenset[str]:
        """Return what lowers the clocks at this moment besides the power limit."""
        reasons = self.ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:
            return frozenset()
        bits = {getattr(self.module, f"nvmlClocksEventReason{name}"): text for name, text in _THROTTLING.items()}
        return frozenset(f"GPU: {text}" for bit, text in bits.items() if reasons & bit)

    def memory_mib(self, pids: Iterable[int]) -> float | None:
        """Return the memory of this GPU that processes hold.

        None where NVML does not say: in a container it knows the processes by the numbers that they have outside.
        """
        ours = set(pids)
        held = [process.usedGpuMemory for process in self._processes() if process.pid in ours]
        return None if not held or None in held else sum(held) / 2**20

    def others(self, pids: Iterable[int]) -> int:
        """Return how many other processes compute on this GPU, or could."""
        return len({process.pid for process in self._processes()} - set(pids))

    def _processes(self) -> list[Any]:
        return self.ask("nvmlDeviceGetComputeRunningProcesses") or []


@dataclass(frozen=True, slots=True)
class GpuCounter:
    """The energy that a GPU counts itself: Volta and later. The counter steps every 20 to 100 ms."""

    gpu: Nvml
    source: str = "NVML (energy counter)"
    part: Part = "gpu"

    def is_there(self) -> bool:
        """Return whether the GPU has one."""
        return self.read() is not None

    def read(self) -> tuple[int, ...] | None:
        """Return the energy since the driver was loaded, in millijoules, or None where the GPU does not answer."""
        energy = self.gpu.ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if energy is None else (int(energy),)

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """Return the energy between two readings."""
        return (after[0] - before[0]) / 1e3


@dataclass(frozen=True, slots=True)
class GpuGauge:
    """The power that a GPU shows: before Volta."""

    gpu: Nvml
    source: str = "NVML (power, sampled)"
    part: Part = "gpu"

    def is_there(self) -> bool:
        """Return whether the GPU has one."""
        return self.watts() is not None

    def watts(self) -> float | None:
        """Return the power of this moment, or None where the GPU does not answer."""
        milliwatts = self.gpu.ask("nvmlDeviceGetPowerUsage")
        return None if milliwatts is None else milliwatts / 1e3


def open_nvml(
    module: Any = None,  # noqa: ANN401
    *,
    ordinal: int = 0,
    locate: Callable[[int], str | None],
) -> Nvml | Missing:
    """Open a GPU.

    Args:
        module: what stands in for `pynvml`; None for the installed one.
        ordinal: CUDA's number of the GPU.
        locate: tells the PCI address of a GPU, as the CUDA driver knows it: NVML numbers the GPUs in another order,
            and ignores CUDA_VISIBLE_DEVICES.

    Returns:
        The GPU, or why there is none.
    """
    address = locate(ordinal)
    if address is None:
        return Missing("GPU", "absent", "NVIDIA GPU that CUDA can use")
    try:
        nvml = module or import_module("pynvml")
    except ImportError:
        return Missing("GPU", "no_library", "nvidia-ml-py")
    try:
        nvml.nvmlInit()
        return Nvml(nvml, nvml.nvmlDeviceGetHandleByPciBusId(address), ordinal)
    except nvml.NVMLError as error:
        return Missing("GPU", "no_answer", f"NVML ({error})")
