"""A stand-in for `pynvml` with one GPU, with the names, numbers and arguments of the real one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class NvmlStandIn:
    """An H100, whose answers are attributes; None stands for "not supported"."""

    class NVMLError(Exception):
        pass

    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_FEATURE_ENABLED = 1
    NVML_DEVICE_MIG_ENABLE = 1
    nvmlClocksEventReasonHwSlowdown = 0x8  # noqa: N815
    nvmlClocksEventReasonSwThermalSlowdown = 0x20  # noqa: N815
    nvmlClocksEventReasonHwThermalSlowdown = 0x40  # noqa: N815
    nvmlClocksEventReasonHwPowerBrakeSlowdown = 0x80  # noqa: N815

    def __init__(self) -> None:
        self.starts: Exception | None = None
        self.address = ""
        self.energy_mj: int | None = 5_000_000
        self.power_mw: int | None = 350_000
        self.clock = 1755
        self.reasons = 0
        self.mig = 0
        self.processes: list[tuple[int, int | None]] = []

    def nvmlInit(self) -> None:  # noqa: N802
        if self.starts:
            raise self.starts

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.95.05"

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return 13000

    def nvmlDeviceGetHandleByPciBusId(self, pciBusId: str) -> str:  # noqa: N802, N803
        self.address = pciBusId
        return "handle"

    def nvmlDeviceGetName(self, handle: str) -> str:  # noqa: N802
        return "NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetCudaComputeCapability(self, handle: str) -> tuple[int, int]:  # noqa: N802
        return 9, 0

    def nvmlDeviceGetMemoryInfo(self, handle: str, version: Any = None) -> SimpleNamespace:  # noqa: ANN401, N802
        return SimpleNamespace(total=81559 * 2**20)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:  # noqa: N802
        return 700_000

    def nvmlDeviceGetPersistenceMode(self, handle: str) -> int:  # noqa: N802
        return 1

    def nvmlDeviceGetMigMode(self, device: str) -> list[int]:  # noqa: N802
        return [self.mig, self.mig]

    def nvmlDeviceGetMaxClockInfo(self, handle: str, type: int) -> int:  # noqa: A002, N802
        return {1: 1980, 2: 2619}[type]

    def nvmlDeviceGetClockInfo(self, handle: str, type: int) -> int:  # noqa: A002, N802
        return self._known({1: self.clock}[type])

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        return self._known(self.energy_mj)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return self._known(self.power_mw)

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:  # noqa: N802
        return self.reasons

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes]

    def _known(self, answer: int | None) -> int:
        if answer is None:
            raise self.NVMLError("Not Supported")
        return answer
