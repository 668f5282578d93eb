"""What the control groups of a process permit it: CPU time and memory, in both versions of Linux's control groups."""

from __future__ import annotations

from reid.bench.meters.tree import Tree

__all__ = ["memory_limit_mib", "memory_used_mib", "quota_cores", "quota_waits_s"]

_MOUNT = "sys/fs/cgroup"


def quota_cores(tree: Tree, pid: int | str = "self") -> float | None:
    """Return how many cores' time a process may use, or None where nothing limits it."""
    quotas = [quota for folder in _folders(tree, pid, "cpu") if (quota := _quota(tree, folder)) is not None]
    return min(quotas, default=None)


def quota_waits_s(tree: Tree, pid: int | str) -> float | None:
    """Return how long a process's groups have been stopped because their quota was used up; None where none says.

    Groups with several threads count the sum over their cores.
    """
    waits = [wait for folder in _folders(tree, pid, "cpu") if (wait := _wait(tree, folder)) is not None]
    return max(waits, default=None)


def memory_limit_mib(tree: Tree, pid: int | str = "self") -> float | None:
    """Return the memory that a process's groups may use, or None where nothing limits it."""
    names = ("memory.max", "memory.limit_in_bytes")
    found = [tree.integer(f"{folder}/{name}") for folder in _folders(tree, pid, "memory") for name in names]
    return min((limit / 2**20 for limit in found if limit is not None), default=None)


def memory_used_mib(tree: Tree, pid: int | str = "self") -> float | None:
    """Return the memory that a process's own group uses, without the files in it; None where it does not tell."""
    for folder in _folders(tree, pid, "memory"):
        for name, cached in (("memory.current", "inactive_file"), ("memory.usage_in_bytes", "total_inactive_file")):
            used = tree.integer(f"{folder}/{name}")
            if used is not None:
                return (used - (_statistic(tree, f"{folder}/memory.stat", cached) or 0)) / 2**20
    return None


def _folders(tree: Tree, pid: int | str, controller: str) -> list[str]:
    """Return the folders of a process's groups, from its own up to the root's."""
    lines = (tree.text(f"proc/{pid}/cgroup") or "").splitlines()
    folders = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if not controllers:
            folders += _upwards(_MOUNT, path)
        elif controller in controllers.split(","):
            folders += _upwards(f"{_MOUNT}/{controller}", path)
    return folders


def _upwards(mount: str, path: str) -> list[str]:
    names = [name for name in path.split("/") if name not in {"", ".."}]
    return ["/".join([mount, *names[:length]]) for length in range(len(names), -1, -1)]


def _quota(tree: Tree, folder: str) -> float | None:
    words = (tree.text(f"{folder}/cpu.max") or "").split()
    if len(words) == 2 and words[0].isdecimal():
        return int(words[0]) / int(words[1])
    quota, period = tree.integer(f"{folder}/cpu.cfs_quota_us"), tree.integer(f"{folder}/cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def _wait(tree: Tree, folder: str) -> float | None:
    for name, second in (("throttled_usec", 1e6), ("throttled_time", 1e9)):
        if (value := _statistic(tree, f"{folder}/cpu.stat", name)) is not None:
            return value / second
    return None


def _statistic(tree: Tree, file: str, name: str) -> int | None:
    for line in (tree.text(file) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return None
