from __future__ import annotations

import os
from pathlib import Path

import pytest
from machine_tree import plant, recorded
from stand_in_nvml import NvmlStandIn

from reid.bench.meters.missing import sentence
from reid.bench.meters.opening import open_meters
from reid.bench.meters.turns import Meters

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROCESS = """\
proc/7/stat = 7 (host) S 1 7 7 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 100 0 0
proc/7/task/7/schedstat = 0 {waited} 1
proc/7/cgroup = 0::/jobs/17
sys/fs/cgroup/jobs/17/cpu.stat = throttled_usec {throttled}
"""


def opened(root: str) -> Meters:
    return open_meters(root, locate=lambda ordinal: None)


def test_a_turn_on_a_server_tells_who_used_its_cores(tmp_path: Path) -> None:
    root = recorded(tmp_path, "intel-server")
    plant(tmp_path, PROCESS.format(ticks=100, waited=0, throttled=0))
    turn = opened(root).start([7])
    plant(tmp_path, PROCESS.format(ticks=160, waited=200_000_000, throttled=4_000))
    plant(
        tmp_path,
        "proc/stat = cpu0 99999 0 0 0 0 0 0 0 0 0\\n"
        "cpu2 460 10 90 5000 7 0 0 10 0 0\\ncpu3 400 0 100 5000 7 0 40 0 0 0\n"
        "sys/class/powercap/intel-rapl:1/energy_uj = 9000000\n"
        "sys/devices/system/cpu/cpu2/thermal_throttle/package_throttle_total_time_ms = 93",
    )
    reading = turn.stop()
    assert reading.own_cores is not None
    assert reading.others_cores is not None
    assert reading.own_cores * reading.seconds == pytest.approx(60 / TICKS_PER_S)
    assert reading.others_cores * reading.seconds == pytest.approx(40 / TICKS_PER_S)
    assert reading.usable_cores == 2
    # The turn is so short that more was used than there was: the share is that of the time used and lost.
    assert reading.waited_share == pytest.approx(0.2 / (0.2 + 60 / TICKS_PER_S))
    assert reading.stolen_share == pytest.approx(10 / 110)
    assert reading.energy_j == pytest.approx(4.0)
    assert reading.clock_mhz == pytest.approx(3400)
    assert reading.throttled == pytest.approx(
        {"CPU quota": min(1, 0.004 / reading.seconds), "CPU: temperature": min(1, 0.003 / reading.seconds)}
    )


def test_a_process_that_waits_for_its_gpu_loses_only_the_time_that_it_waited_for_a_cpu(tmp_path: Path) -> None:
    root = recorded(tmp_path, "intel-server")
    plant(tmp_path, PROCESS.format(ticks=100, waited=0, throttled=0))
    turn = opened(root).start([7], "gpu")
    plant(tmp_path, PROCESS.format(ticks=100, waited=1000, throttled=0))
    reading = turn.stop()
    assert reading.waited_share == pytest.approx(1e-6 / reading.seconds)


@pytest.mark.parametrize(
    ("machine", "cpu_mhz", "gpu_mhz", "watts"),
    [("orin-nano", 1728, 1020, 9.510), ("orin-nx", 1420.8, 408, 5.825), ("agx-orin", 1190.4, 816, 22.587)],
)
def test_a_jetson_measures_the_module_whatever_computes(
    machine: str, cpu_mhz: float, gpu_mhz: float, watts: float, tmp_path: Path
) -> None:
    meters = opened(recorded(tmp_path, machine))
    assert meters.missing == ()
    for computes, megahertz in (("cpu", cpu_mhz), ("gpu", gpu_mhz)):
        reading = meters.start([], computes).stop()  # type: ignore[arg-type]
        assert reading.clock_mhz == pytest.approx(megahertz)
        assert reading.energy_j == pytest.approx(watts * reading.seconds, rel=1e-3)
        assert dict(reading.throttled) == ({"Jetson: cpu-throttle-alert": 1.0} if machine == "orin-nx" else {})


def test_a_gpu_counts_with_the_processor_that_feeds_it(tmp_path: Path) -> None:
    nvml = NvmlStandIn()
    meters = open_meters(
        recorded(tmp_path, "amd-desktop"), nvml=nvml, locate=lambda ordinal: f"0000:0{ordinal}:00.0", gpu=3
    )
    assert nvml.address == "0000:03:00.0"
    assert meters.energy_source("gpu") == "NVML (energy counter) + RAPL (package-0)"
    assert meters.energy_source("cpu") == "RAPL (package-0)"
    nvml.reasons = 0x20
    turn = meters.start([], "gpu")
    nvml.energy_mj = 5_080_000
    plant(tmp_path, "sys/class/powercap/intel-rapl:0/energy_uj = 1389012")  # wraps: 2 J
    reading = turn.stop()
    assert reading.energy_j == pytest.approx(82.0)
    assert reading.clock_mhz == 1755
    assert reading.throttled == {"GPU: temperature (driver)": 1.0}


def test_a_gpu_that_is_lost_in_a_turn_leaves_no_energy(tmp_path: Path) -> None:
    nvml = NvmlStandIn()
    meters = open_meters(recorded(tmp_path, "amd-desktop"), nvml=nvml, locate=lambda ordinal: "0000:01:00.0")
    turn = meters.start([], "gpu")
    nvml.energy_mj = None
    assert turn.stop().energy_j is None


def test_the_processor_alone_is_not_taken_for_the_energy_of_a_gpu(tmp_path: Path) -> None:
    nvml = NvmlStandIn()
    nvml.energy_mj = nvml.power_mw = None
    meters = open_meters(recorded(tmp_path, "amd-desktop"), nvml=nvml, locate=lambda ordinal: "0000:01:00.0")
    assert meters.energy_source("gpu") == ""
    assert "energy: the GPU's driver does not tell" in [sentence(lack) for lack in meters.missing]


def test_what_is_not_there_is_said_once(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        "proc/cpuinfo = cpu MHz\\t: 2596.1\\nflags\\t: avx hypervisor\nproc/self/status = Cpus_allowed_list:\\t0",
    )
    assert [sentence(lack) for lack in opened(root).missing] == [
        f"energy: there is no {root}/sys/class/powercap/intel-rapl:0",
        "clock: a virtual machine shows only the nominal clock",
        f"throttling: there is no {root}/sys/devices/system/cpu/cpu0/thermal_throttle",
        f"other processes: there is no {root}/proc/stat",
    ]
    reading = opened(root).start([1], "gpu").stop()
    assert (reading.energy_j, reading.clock_mhz, reading.others_cores, reading.waited_share) == (None,) * 4


def test_idle_power_is_that_of_a_turn_without_processes(tmp_path: Path) -> None:
    meters = opened(recorded(tmp_path, "orin-nano"))
    assert meters.idle_power_w("gpu", 0.02) == pytest.approx(9.510, rel=1e-3)


def test_the_clock_is_read_without_cpufreq_where_the_processor_is_real(tmp_path: Path) -> None:
    assert opened(recorded(tmp_path, "amd-desktop")).start([]).stop().clock_mhz == pytest.approx(5100.25)
