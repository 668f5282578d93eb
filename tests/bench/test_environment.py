from __future__ import annotations

import getpass
import platform
import re
import socket
from importlib.metadata import version
from pathlib import Path

import pytest
from machine_tree import recorded
from stand_in_nvml import NvmlStandIn

from reid.bench.environment import Environment, Gpu, Jetson
from reid.bench.machine import accelerators, gathering
from reid.bench.machine.gathering import gather_environment
from reid.bench.machine.software import speed_variables
from reid.bench.meters.opening import open_meters
from reid.runtime.gpu import Device


@pytest.fixture(autouse=True)
def idle_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "IDLE_S", 0.01)


def gathered(root: str) -> Environment:
    return gather_environment(open_meters(root, locate=lambda ordinal: None), {})


def test_an_orin_nano_with_fixed_clocks(tmp_path: Path) -> None:
    found = gathered(recorded(tmp_path, "orin-nano"))
    assert found.jetson == Jetson(
        model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        release="36.4.7",
        power_mode="MAXN_SUPER",
        gpu_clock_mhz=(1020, 1020),
        clocks_fixed=True,
    )
    assert found.product == found.jetson.model
    assert found.processor.model == "Cortex-A78AE"
    assert found.processor.architecture == "aarch64"
    assert found.processor.cores == 6
    assert found.processor.clock_mhz == (1728, 1728)
    assert found.processor.instruction_sets == ("asimd", "asimdhp", "asimddp")
    assert found.memory_mib == pytest.approx(7619.6, abs=0.1)
    assert (found.system, found.kernel) == ("Ubuntu 22.04.5 LTS", "5.15.148-tegra")
    assert found.energy_sources == {"cpu": "INA3221 (VDD_IN)", "gpu": "INA3221 (VDD_IN)"}
    assert found.idle_power_w == pytest.approx({"cpu": 9.510, "gpu": 9.510}, rel=1e-3)
    assert found.gpus == ()
    assert found.virtual_machine is None


@pytest.mark.parametrize(
    ("machine", "release", "mode", "gpu_mhz"),
    [("orin-nx", "35.4.1", "25W", (306, 918)), ("agx-orin", "36.3.0", "3", (306, 828.75))],
)
def test_other_modules_with_clocks_that_follow_the_load(
    machine: str, release: str, mode: str, gpu_mhz: tuple[float, float], tmp_path: Path
) -> None:
    jetson = gathered(recorded(tmp_path, machine)).jetson
    assert jetson
    assert (jetson.release, jetson.power_mode, jetson.gpu_clock_mhz) == (release, mode, gpu_mhz)
    assert jetson.clocks_fixed is False


def test_a_server_that_is_shared(tmp_path: Path) -> None:
    found = gathered(recorded(tmp_path, "intel-server"))
    processor = found.processor
    assert found.product == "Dell Inc. PowerEdge R760"
    assert processor.model == "Intel(R) Xeon(R) Gold 6430"
    assert (processor.cores, processor.quota_cores, processor.threads_per_core, processor.numa_nodes) == (2, 1.5, 2, 2)
    assert (processor.governor, processor.turbo, processor.clock_mhz) == ("performance", True, (800, 3400))
    assert {"amx_int8", "avx512_vnni", "avx_vnni"} <= set(processor.instruction_sets)
    assert found.memory_mib == 16384
    assert found.virtual_machine is False


def test_a_gpu_as_its_driver_describes_it(tmp_path: Path) -> None:
    nvml = NvmlStandIn()
    nvml.processes = [(4242, 2**30)]
    root = recorded(tmp_path, "amd-desktop")
    found = gather_environment(open_meters(root, nvml=nvml, locate=lambda ordinal: "0000:01:00.0"), {})
    assert found.gpus == (
        Gpu(
            name="NVIDIA H100 80GB HBM3",
            compute_capability="9.0",
            driver="580.95.05",
            cuda="13.0",
            memory_mib=81559,
            power_limit_w=700,
            clock_mhz=(1980, 2619),
            persistence=True,
            mig=False,
            other_processes=1,
        ),
    )
    assert found.processor.turbo is False


def test_a_part_of_a_gpu_goes_by_its_own_name_and_without_what_is_the_wholes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = Device("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "9.0", "13.0")
    monkeypatch.setattr(accelerators, "find_device", {2: part}.get)
    nvml = NvmlStandIn()
    nvml.mig = 1
    root = recorded(tmp_path, "amd-desktop")
    meters = open_meters(root, gpu=2, nvml=nvml, locate=lambda ordinal: "0000:01:00.0")
    found = gather_environment(meters, {})
    assert [(gpu.name, gpu.mig, gpu.memory_mib) for gpu in found.gpus] == [(part.name, True, None)]
    assert "gpu" not in found.energy_sources


def test_this_machine_is_described_without_naming_it() -> None:
    found = gather_environment(open_meters(locate=lambda ordinal: None))
    assert Environment.model_validate_json(found.model_dump_json()) == found
    assert found.processor.architecture == platform.machine()
    assert found.libraries["numpy"] == version("numpy")
    words = set(re.findall(r"[\w.-]+", found.model_dump_json()))
    assert str(Path.home()) not in found.model_dump_json()
    assert not {socket.gethostname(), getpass.getuser()} & words - {"root", "vm", "localhost"}


def test_variables_that_change_speed_are_kept_without_folders() -> None:
    kept = speed_variables(
        {
            "OMP_NUM_THREADS": "4",
            "KMP_AFFINITY": "granularity=fine,compact,1,0",
            "CUDA_VISIBLE_DEVICES": "1",
            "LD_PRELOAD": "/home/alice/lib/libjemalloc.so.2:/usr/lib/libiomp5.so",
            "TORCH_HOME": "/home/alice",
            "TORCHINDUCTOR_CACHE_DIR": "/tmp/alice",
            "CUDA_CACHE_PATH": "/home/alice/cache",
            "HOME": "/home/alice",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
    )
    assert kept == {
        "OMP_NUM_THREADS": "4",
        "KMP_AFFINITY": "granularity=fine,compact,1,0",
        "CUDA_VISIBLE_DEVICES": "1",
        "LD_PRELOAD": "libjemalloc.so.2:libiomp5.so",
    }
