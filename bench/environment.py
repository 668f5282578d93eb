"""The machine and its software: everything besides the code that a time depends on.

`reid.bench.machine.gathering` fills it in. It names no host, no user and no folder.
"""

from __future__ import annotations

from pydantic import Field

from reid.bench.records import Count, NotNegative, Positive, Record

__all__ = ["Environment", "Gpu", "Jetson", "Processor"]


class Processor(Record):
    """The processor, as far as a process here may use it; None for what the system does not tell.

    Attributes:
        model: its name.
        architecture: "x86_64", "aarch64".
        cores: the CPUs that a process may use: hardware threads within its affinity.
        quota_cores: how many cores' time the process's control groups permit; None without a limit.
        threads_per_core: the hardware threads of a core.
        numa_nodes: the number of memory nodes.
        instruction_sets: those of its instruction sets that matter for a network, as Linux names them.
        clock_mhz: the lowest and the highest permitted clock.
        governor: what chooses the clock; empty where nothing is said.
        turbo: whether clocks above the nominal one are permitted.
    """

    model: str
    architecture: str
    cores: int = Field(ge=1)
    quota_cores: Positive | None = None
    threads_per_core: int | None = None
    numa_nodes: Count | None = None
    instruction_sets: tuple[str, ...] = ()
    clock_mhz: tuple[NotNegative, NotNegative] | None = None
    governor: str = ""
    turbo: bool | None = None


class Gpu(Record):
    """An NVIDIA GPU; None for what the driver does not tell.

    Attributes:
        name: its name: "NVIDIA H100 80GB HBM3", and with MIG that of the part: "NVIDIA H100 80GB HBM3 MIG 1g.10gb".
        compute_capability: its compute capability: "9.0".
        driver: the version of the driver.
        cuda: the newest CUDA version that the driver supports.
        memory_mib: its memory; None for a part.
        power_limit_w: the power that it may take.
        clock_mhz: the highest clock of the multiprocessors and of the memory.
        persistence: whether the driver stays loaded while nobody uses the GPU.
        mig: whether it is divided (Multi-Instance GPU).
        other_processes: how many processes had it open when the run began.
    """

    name: str
    compute_capability: str = ""
    driver: str = ""
    cuda: str = ""
    memory_mib: NotNegative | None = None
    power_limit_w: NotNegative | None = None
    clock_mhz: tuple[NotNegative, NotNegative] | None = None
    persistence: bool | None = None
    mig: bool | None = None
    other_processes: Count = 0


class Jetson(Record):
    """A Jetson; None for what JetPack does not tell.

    Attributes:
        model: the name in its device tree: "NVIDIA Jetson Orin NX Engineering Reference Developer Kit".
        release: the release of Jetson Linux: "36.4.3".
        power_mode: nvpmodel's mode: "MAXN_SUPER".
        gpu_clock_mhz: the lowest and the highest permitted clock of the GPU.
        clocks_fixed: whether CPU and GPU keep their highest clock, as `jetson_clocks` sets it.
    """

    model: str
    release: str = ""
    power_mode: str = ""
    gpu_clock_mhz: tuple[NotNegative, NotNegative] | None = None
    clocks_fixed: bool | None = None


class Environment(Record):
    """The machine and its software.

    Attributes:
        product: the name that the machine's maker gave it; empty where nothing is said.
        processor: the processor.
        memory_mib: the memory that a process here may use; None where the system does not tell.
        gpus: the NVIDIA GPU that was used, where there is one.
        jetson: the module, on a Jetson.
        system: the operating system: "Ubuntu 24.04.3 LTS".
        kernel: the version of its kernel.
        virtual_machine: whether the processor is a virtual one; None where it does not tell.
        container: what kind of container the process runs in; empty for none.
        python: the version of Python.
        libraries: the versions of the libraries that compute.
        variables: the environment variables that change speed; folders in their values are left out.
        energy_sources: what the energy is read from, by what computes: "cpu", "gpu"; without those that have no meter.
        idle_power_w: the power before the run, by what computes.
    """

    product: str = ""
    processor: Processor
    memory_mib: NotNegative | None = None
    gpus: tuple[Gpu, ...] = ()
    jetson: Jetson | None = None
    system: str = ""
    kernel: str = ""
    virtual_machine: bool | None = None
    container: str = ""
    python: str = ""
    libraries: dict[str, str] = Field(default_factory=dict)
    variables: dict[str, str] = Field(default_factory=dict)
    energy_sources: dict[str, str] = Field(default_factory=dict)
    idle_power_w: dict[str, NotNegative] = Field(default_factory=dict)
