"""The memory that processes here may use, in MiB: the machine's, or less where control groups permit less."""

from __future__ import annotations

from reid.bench.meters.cgroups import memory_limit_mib, memory_used_mib
from reid.bench.meters.tree import Tree

__all__ = ["available_memory_mib", "total_memory_mib"]


def total_memory_mib(tree: Tree) -> float | None:
    """Return all of it; None where the system does not tell."""
    total = _meminfo_mib(tree, "MemTotal")
    return None if total is None else min(total, memory_limit_mib(tree) or total)


def available_memory_mib(tree: Tree) -> float | None:
    """Return what is free, or would be if files were not kept in memory; None where the system does not tell."""
    free, limit, used = _meminfo_mib(tree, "MemAvailable"), memory_limit_mib(tree), memory_used_mib(tree)
    if free is None or limit is None or used is None:
        return free
    return min(free, max(limit - used, 0.0))


def _meminfo_mib(tree: Tree, name: str) -> float | None:
    for line in (tree.text("proc/meminfo") or "").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return None
