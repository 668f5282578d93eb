"""The clock of the processor, and what lowers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reid.bench.meters.missing import Missing
from reid.bench.meters.tree import Tree

__all__ = ["CpuClock", "CpuThrottling", "is_virtual", "open_cpu_clock", "open_cpu_throttling"]

_CPUS: Final = "sys/devices/system/cpu"


@dataclass(frozen=True, slots=True)
class CpuClock:
    """The clocks of the CPUs that this process may use.

    Attributes:
        tree: where they are.
        files: the files with a CPU's clock in kHz; empty where /proc/cpuinfo has them.
    """

    tree: Tree
    files: tuple[str, ...]

    def megahertz(self) -> float | None:
        """Return the highest clock of this moment: that of a CPU that works, since an idle one lowers its own."""
        if not self.files:
            return max(_cpuinfo_megahertz(self.tree), default=None)
        kilohertz = [value for path in self.files if (value := self.tree.integer(path)) is not None]
        return max(kilohertz) / 1e3 if kilohertz else None


@dataclass(frozen=True, slots=True)
class CpuThrottling:
    """The counters of the times that Intel processors lowered their clocks because of their temperature.

    Attributes:
        tree: where they are.
        files: a file for each core and package.
        milliseconds: whether they count the time (since Linux 5.11), or else the events.
    """

    tree: Tree
    files: tuple[str, ...]
    milliseconds: bool

    def read(self) -> tuple[int, ...] | None:
        """Return what the counters show, or None where one does not answer."""
        values = [self.tree.integer(path) for path in self.files]
        return None if None in values else tuple(value for value in values if value is not None)


def open_cpu_clock(tree: Tree, cpus: frozenset[int]) -> CpuClock | Missing:
    """Return the clock of the processor, or why it is not known."""
    files = tuple(f"{_CPUS}/cpu{cpu}/cpufreq/scaling_cur_freq" for cpu in sorted(cpus))
    if files and tree.integer(files[0]) is not None:
        return CpuClock(tree, files)
    if is_virtual(tree):
        return Missing("clock", "virtual", "/proc/cpuinfo")
    return CpuClock(tree, ()) if _cpuinfo_megahertz(tree) else Missing("clock", "absent", tree.full(f"{_CPUS}/cpufreq"))


def open_cpu_throttling(tree: Tree, cpus: frozenset[int]) -> CpuThrottling | Missing:
    """Return the counters of throttling, or why there are none."""
    for name, milliseconds in (("throttle_total_time_ms", True), ("throttle_count", False)):
        files = tree.find(f"{_CPUS}/cpu*/thermal_throttle/*_{name}")
        own = tuple(path for path in files if int(path.split("/")[4][3:]) in cpus)
        if own:
            return CpuThrottling(tree, own, milliseconds)
    return Missing("throttling", "absent", tree.full(f"{_CPUS}/cpu0/thermal_throttle"))


def is_virtual(tree: Tree) -> bool | None:
    """Return whether this is a virtual machine; None where the processor does not tell, as ARM's."""
    flags = _fields(tree, "flags")
    return "hypervisor" in flags[0].split() if flags else None


def _cpuinfo_megahertz(tree: Tree) -> list[float]:
    return [float(text) for text in _fields(tree, "cpu MHz")]


def _fields(tree: Tree, name: str) -> list[str]:
    lines = (line.partition(":") for line in (tree.text("proc/cpuinfo") or "").splitlines())
    return [value.strip() for key, _, value in lines if key.strip() == name]
