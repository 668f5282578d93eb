"""Gather the facts of a machine and its software."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from typing import get_args

from reid.bench.environment import Environment
from reid.bench.machine.accelerators import describe_gpu, describe_jetson
from reid.bench.machine.processor import describe_processor
from reid.bench.machine.software import container, kernel, libraries, speed_variables, system
from reid.bench.meters.jetson import JetsonGpu, is_jetson
from reid.bench.meters.memory import total_memory_mib
from reid.bench.meters.nvml import Nvml
from reid.bench.meters.processor import is_virtual
from reid.bench.meters.tree import Tree
from reid.bench.meters.turns import Computes, Meters

__all__ = ["gather_environment"]

IDLE_S = 1.0


def gather_environment(meters: Meters, variables: Mapping[str, str] = os.environ) -> Environment:
    """Gather the facts of this machine, with the power that it takes while nothing is timed: up to two seconds.

    Args:
        meters: the meters of the run, with the files of the machine and its GPU.
        variables: the environment variables.
    """
    tree, gpu = meters.tree, meters.gpu
    jetson = describe_jetson(tree, gpu if isinstance(gpu, JetsonGpu) else None) if is_jetson(tree) else None
    metered = [computes for computes in _computes(meters) if meters.energy_source(computes)]
    return Environment(
        product=jetson.model if jetson else _product(tree),
        processor=describe_processor(tree),
        memory_mib=total_memory_mib(tree),
        gpus=(describe_gpu(gpu),) if isinstance(gpu, Nvml) else (),
        jetson=jetson,
        system=system(tree),
        kernel=kernel(tree),
        virtual_machine=is_virtual(tree),
        container=container(tree),
        python=platform.python_version(),
        libraries=libraries(),
        variables=speed_variables(variables),
        energy_sources={computes: meters.energy_source(computes) for computes in metered},
        idle_power_w=_idle(meters, metered),
    )


def _computes(meters: Meters) -> list[Computes]:
    """Return what computes: the GPU only where there is one."""
    return [computes for computes in get_args(Computes) if computes == "cpu" or meters.gpu]


def _idle(meters: Meters, with_meters: Iterable[Computes]) -> dict[str, float]:
    powers = {computes: meters.idle_power_w(computes, IDLE_S) for computes in with_meters}
    return {computes: power for computes, power in powers.items() if power is not None}


def _product(tree: Tree) -> str:
    maker, name = tree.text("sys/class/dmi/id/sys_vendor"), tree.text("sys/class/dmi/id/product_name")
    return " ".join(text for text in (maker, name) if text)
