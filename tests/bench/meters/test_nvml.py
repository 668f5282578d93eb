from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
from stand_in_nvml import NvmlStandIn

from reid.bench.meters.missing import Missing, sentence
from reid.bench.meters.nvml import GpuCounter, GpuGauge, Nvml, open_nvml


@pytest.fixture
def nvml() -> NvmlStandIn:
    return NvmlStandIn()


def opened(nvml: NvmlStandIn) -> Nvml:
    gpu = open_nvml(nvml, locate=lambda ordinal: "0000:65:00.0")
    assert isinstance(gpu, Nvml)
    return gpu


def test_the_stand_in_has_the_names_numbers_and_arguments_of_the_real_module(nvml: NvmlStandIn) -> None:
    real = pytest.importorskip("pynvml")
    assert issubclass(real.NVMLError, Exception)
    for name, value in _public(nvml):
        if callable(value):
            assert list(inspect.signature(getattr(real, name)).parameters) == list(
                inspect.signature(value).parameters
            ), name
        else:
            assert getattr(real, name) == value, name
    assert {name for name, _ in real.c_nvmlMemory_t._fields_} >= {"total"}
    assert {name for name, _ in real.c_nvmlProcessInfo_t._fields_} >= {"pid", "usedGpuMemory"}


def _public(nvml: NvmlStandIn) -> Iterator[tuple[str, object]]:
    for name in dir(nvml):
        if name.lower().startswith("nvml") and name != "NVMLError":
            yield name, getattr(nvml, name)


def test_the_gpu_is_found_by_its_address(nvml: NvmlStandIn) -> None:
    opened(nvml)
    assert nvml.address == "0000:65:00.0"


def test_energy_is_counted_where_the_gpu_counts_and_else_sampled(nvml: NvmlStandIn) -> None:
    counter = opened(nvml).energy()
    assert isinstance(counter, GpuCounter)
    assert counter.joules((5_000_000,), (5_070_000,)) == 70.0
    nvml.energy_mj = None
    assert counter.read() is None
    gauge = opened(nvml).energy()
    assert isinstance(gauge, GpuGauge)
    assert gauge.watts() == 350.0
    nvml.power_mw = None
    missing = opened(nvml).energy()
    assert isinstance(missing, Missing)
    assert sentence(missing) == "energy: the GPU's driver does not tell"


def test_the_meter_of_a_divided_gpu_counts_what_others_use(nvml: NvmlStandIn) -> None:
    nvml.mig = 1
    missing = opened(nvml).energy()
    assert isinstance(missing, Missing)
    assert sentence(missing) == "energy: the GPU is divided (MIG), and counts that of all its parts together"


def test_the_power_limit_is_no_throttling(nvml: NvmlStandIn) -> None:
    gpu = opened(nvml)
    nvml.reasons = 0x4 | 0x1  # software power cap, idle
    assert gpu.throttling() == frozenset()
    nvml.reasons = 0x4 | 0x8 | 0x40
    assert gpu.throttling() == {"GPU: hardware slowdown", "GPU: temperature (hardware)"}


def test_memory_is_that_of_the_given_processes(nvml: NvmlStandIn) -> None:
    gpu = opened(nvml)
    nvml.processes = [(10, 300 * 2**20), (11, 200 * 2**20), (99, 7 * 2**30)]
    assert gpu.memory_mib([10, 11]) == 500
    assert gpu.others([10, 11]) == 1
    assert gpu.memory_mib([12]) is None  # a container's numbers are not the driver's
    nvml.processes = [(10, None)]
    assert gpu.memory_mib([10]) is None


def test_why_there_is_no_gpu_is_said(nvml: NvmlStandIn) -> None:
    nvml.starts = NvmlStandIn.NVMLError("Driver/library version mismatch")
    missing = open_nvml(nvml, locate=lambda ordinal: "0000:65:00.0")
    assert isinstance(missing, Missing)
    assert sentence(missing) == "GPU: NVML (Driver/library version mismatch) does not tell"
    none = open_nvml(nvml, locate=lambda ordinal: None)
    assert isinstance(none, Missing)
    assert none.cause == "absent"
