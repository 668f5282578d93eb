"""The memory of a process."""

from __future__ import annotations

from reid.bench.meters.tree import Tree

__all__ = ["peak_memory_mib", "shared_out_memory_mib"]


def peak_memory_mib(tree: Tree, pid: int) -> float | None:
    """Return the most memory that a process has had, with all pages that it shares; None once it is gone."""
    return _mebibytes(tree, f"proc/{pid}/status", "VmHWM")


def shared_out_memory_mib(tree: Tree, pid: int) -> float | None:
    """Return a process's memory of this moment, each shared page divided by those that share it (PSS)."""
    return _mebibytes(tree, f"proc/{pid}/smaps_rollup", "Pss")


def _mebibytes(tree: Tree, path: str, field: str) -> float | None:
    for line in (tree.text(path) or "").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    return None
