"""The facts of a processor."""

from __future__ import annotations

import os
import platform
from typing import Final

from reid.bench.environment import Processor
from reid.bench.meters.cgroups import quota_cores
from reid.bench.meters.cpu_time import usable_cpus
from reid.bench.meters.tree import Tree

__all__ = ["describe_processor"]

_CPUS: Final = "sys/devices/system/cpu"

_INSTRUCTION_SETS: Final = (
    *("avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
"""Linux's names: `asimdhp` is FP16, and `asimddp` the INT8 dot product, of ARM."""

_ARM_PARTS: Final = {
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse N1",
    (0x41, 0xD40): "Neoverse V1",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD49): "Neoverse N2",
    (0x41, 0xD4F): "Neoverse V2",
    (0x41, 0xD83): "Neoverse V3AE",
    (0x4E, 0x004): "Carmel",
}
"""The names of cores, by maker and part, which is all that Linux tells: see arch/arm64/include/asm/cputype.h."""


def describe_processor(tree: Tree) -> Processor:
    """Read the facts of the processor."""
    fields = _cpuinfo(tree)
    cpus = usable_cpus(tree)
    return Processor(
        model=_model(fields),
        architecture=platform.machine() if tree.root == "/" else ("aarch64" if "Features" in fields else "x86_64"),
        cores=len(cpus) or os.cpu_count() or 1,
        quota_cores=quota_cores(tree),
        threads_per_core=_threads_per_core(tree, min(cpus, default=0)),
        numa_nodes=len(tree.find("sys/devices/system/node/node[0-9]*")) or None,
        instruction_sets=_instruction_sets(fields),
        clock_mhz=_clock_limits(tree, cpus),
        governor=tree.text(f"{_CPUS}/cpu{min(cpus, default=0)}/cpufreq/scaling_governor") or "",
        turbo=_turbo(tree),
    )


def _cpuinfo(tree: Tree) -> dict[str, str]:
    """Return the fields of the first CPU in /proc/cpuinfo."""
    first = (tree.text("proc/cpuinfo") or "").split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _model(fields: dict[str, str]) -> str:
    maker, part = fields.get("CPU implementer", ""), fields.get("CPU part", "")
    if maker and part:
        return _ARM_PARTS.get((int(maker, 16), int(part, 16)), f"ARM core {maker} {part}")
    return fields.get("model name", "") or platform.processor() or "unknown"


def _instruction_sets(fields: dict[str, str]) -> tuple[str, ...]:
    has = set((fields.get("flags") or fields.get("Features") or "").split())
    return tuple(name for name in _INSTRUCTION_SETS if name in has)


def _threads_per_core(tree: Tree, cpu: int) -> int | None:
    siblings = tree.text(f"{_CPUS}/cpu{cpu}/topology/thread_siblings")  # a mask: 00000001,00000001
    return bin(int(siblings.replace(",", ""), 16)).count("1") if siblings else None


def _clock_limits(tree: Tree, cpus: frozenset[int]) -> tuple[float, float] | None:
    folders = [f"{_CPUS}/cpu{cpu}/cpufreq" for cpu in sorted(cpus)]
    low = [value for folder in folders if (value := tree.integer(f"{folder}/scaling_min_freq")) is not None]
    high = [value for folder in folders if (value := tree.integer(f"{folder}/scaling_max_freq")) is not None]
    return (min(low) / 1e3, max(high) / 1e3) if low and high else None


def _turbo(tree: Tree) -> bool | None:
    never, boost = tree.integer(f"{_CPUS}/intel_pstate/no_turbo"), tree.integer(f"{_CPUS}/cpufreq/boost")
    if never is not None:
        return never == 0
    return None if boost is None else boost == 1
