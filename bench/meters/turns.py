"""Meters around a turn: what they showed while a process was timed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from reid.bench.meters.cgroups import quota_waits_s
from reid.bench.meters.cpu_time import CpuTime, read_cpu_time
from reid.bench.meters.energy import EnergyCounter, PowerGauge
from reid.bench.meters.jetson import JetsonGpu
from reid.bench.meters.missing import Missing
from reid.bench.meters.nvml import Nvml
from reid.bench.meters.processor import CpuThrottling
from reid.bench.meters.sampler import Gauge, Sampler, Sign
from reid.bench.meters.trace import Trace
from reid.bench.meters.tree import Tree

__all__ = ["Computes", "DeviceMeters", "Meters", "Reading", "Turn", "computes_on"]

Computes: TypeAlias = Literal["cpu", "gpu"]
"""What computes in a turn."""


def computes_on(device: str) -> Computes:
    """Return what computes in a session, by the name of its device."""
    return "cpu" if device.casefold() == "cpu" else "gpu"


@dataclass(frozen=True, slots=True)
class Reading:
    """What the meters showed during a turn; None for what they cannot tell.

    Attributes:
        seconds: how long the turn took.
        energy_j: the energy of what computes: of a GPU with the processor that feeds it, as far as both have meters
            (`Meters.energy_source`), of the processor alone, or of a whole Jetson module.
        clock_mhz: the mean clock of what computes.
        usable_cores: the CPUs that the process may use.
        own_cores: how many cores the timed processes kept busy.
        others_cores: how many of the CPUs that the process may use others kept busy.
        waited_share: the share of the turn in which a busy thread of the timed processes was ready to run, but another
            one had its CPU: the mean over the busy threads.
        stolen_share: the share of the turn in which a busy CPU was given to another machine by the hypervisor: the mean
            over the busy CPUs.
        throttled: what lowered the clocks, or stopped the processes because their group's quota was used up, and the
            share of the turn; 1 where only that it happened is known.
    """

    seconds: float
    energy_j: float | None
    clock_mhz: float | None
    usable_cores: int
    own_cores: float | None
    others_cores: float | None
    waited_share: float | None
    stolen_share: float | None
    throttled: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DeviceMeters:
    """The meters of what computes.

    Attributes:
        counters: what counts its energy itself.
        gauges: what shows its power.
        clock: tells its clock; None where nothing does.
        sign: tells what lowers its clock at this moment.
    """

    counters: tuple[EnergyCounter, ...]
    gauges: tuple[PowerGauge, ...]
    clock: Gauge | None
    sign: Sign

    def sampled(self) -> dict[str, Gauge]:
        """Return what has to be read again and again."""
        powers = {gauge.source: gauge.watts for gauge in self.gauges}
        return powers | ({} if self.clock is None else {"clock": self.clock})

    def energy_j(self, before: _Counts, after: _Counts, traces: Mapping[str, Trace], window: _Window) -> float | None:
        """Return the energy of a turn, or None without meters, or where one stopped answering."""
        counted = [
            None if old is None or new is None else counter.joules(old, new)
            for counter, old, new in zip(self.counters, before, after, strict=True)
        ]
        parts = counted + [traces[gauge.source].integral(*window) for gauge in self.gauges]
        return sum(part for part in parts if part is not None) if parts and None not in parts else None


_Counts: TypeAlias = "list[tuple[int, ...] | None]"
_Window: TypeAlias = "tuple[float, float]"


@dataclass(frozen=True, slots=True)
class Meters:
    """What can be measured here.

    Attributes:
        tree: the files of the machine.
        cpus: the CPUs that this process may use.
        gpu: the GPU, where there is one.
        devices: the meters of what computes.
        throttling: the counters of the processor's throttling; None where there are none.
        missing: what cannot be measured, and why.
    """

    tree: Tree
    cpus: frozenset[int]
    gpu: Nvml | JetsonGpu | None
    devices: Mapping[Computes, DeviceMeters]
    throttling: CpuThrottling | None
    missing: tuple[Missing, ...]

    def start(self, pids: Iterable[int], computes: Computes = "cpu") -> Turn:
        """Begin a turn of processes; their children are counted as well.

        It takes about half a millisecond, as `Turn.stop` does, and 8 microseconds for each thread of the processes.
        """
        return Turn(self, tuple(pids), self.devices[computes])

    def energy_source(self, computes: Computes) -> str:
        """Return what the energy of a turn is read from; empty where there are no meters."""
        device = self.devices[computes]
        sources = [counter.source for counter in device.counters] + [gauge.source for gauge in device.gauges]
        return " + ".join(sources)

    def idle_power_w(self, computes: Computes, seconds: float = 1.0) -> float | None:
        """Return the power while nothing is timed, measured for a while; None without meters."""
        turn = self.start((), computes)
        time.sleep(seconds)
        reading = turn.stop()
        return None if reading.energy_j is None else reading.energy_j / reading.seconds


class Turn:
    """A turn that runs."""

    def __init__(self, meters: Meters, pids: tuple[int, ...], device: DeviceMeters) -> None:
        self._meters, self._pids, self._device = meters, pids, device
        self._throttled = meters.throttling.read() if meters.throttling else None
        self._quota_waits = self._read_quota_waits()
        self._cpu = self._read_cpu()
        self._sampler = Sampler(device.sampled(), device.sign)
        self._start = time.monotonic()
        self._counts: _Counts = [counter.read() for counter in device.counters]

    def stop(self) -> Reading:
        """End the turn."""
        counts: _Counts = [counter.read() for counter in self._device.counters]
        window = (self._start, time.monotonic())
        seconds = window[1] - window[0]
        cpu = self._read_cpu()
        traces, signs = self._sampler.stop()
        clock = traces.get("clock")
        own = _rate(self._cpu.own, cpu.own, seconds)
        busy = _rate(self._cpu.busy, cpu.busy, seconds)
        stolen = _rate(self._cpu.stolen, cpu.stolen, seconds)
        waited = _rate(self._cpu.waited, cpu.waited, seconds)
        return Reading(
            seconds=seconds,
            energy_j=self._device.energy_j(self._counts, counts, traces, window),
            clock_mhz=clock.mean(*window) if clock else None,
            usable_cores=len(self._meters.cpus),
            own_cores=own,
            others_cores=None if busy is None or own is None else max(0.0, busy - own),
            waited_share=_lost_share(waited, own),
            stolen_share=_lost_share(stolen, busy),
            throttled=self._throttling(seconds) | dict.fromkeys(signs, 1.0),
        )

    def _read_cpu(self) -> CpuTime:
        return read_cpu_time(self._meters.tree, self._meters.cpus, self._pids)

    def _read_quota_waits(self) -> float | None:
        waits = [quota_waits_s(self._meters.tree, pid) for pid in self._pids]
        return max((wait for wait in waits if wait is not None), default=None)

    def _throttling(self, seconds: float) -> dict[str, float]:
        quota = _rate(self._quota_waits, self._read_quota_waits(), seconds)
        shares = {"CPU quota": quota} if quota else {}
        counters = self._meters.throttling
        after = counters.read() if counters else None
        if counters and after and self._throttled:
            most = max(new - old for old, new in zip(self._throttled, after, strict=True))
            if most > 0:
                shares["CPU: temperature"] = most / 1e3 / seconds if counters.milliseconds else 1.0
        return {reason: min(share, 1.0) for reason, share in shares.items()}


def _rate(before: float | None, after: float | None, seconds: float) -> float | None:
    return None if before is None or after is None else max(0.0, after - before) / seconds


def _lost_share(lost: float | None, used: float | None) -> float | None:
    """Return the share of a turn that was lost, of cores' time that was lost and used in a second.

    Their sum is how many threads were busy. A process that mostly waits for a GPU has less than one: it loses no more
    than the time that it really waited.
    """
    return None if lost is None or used is None else lost / max(1.0, lost + used)
