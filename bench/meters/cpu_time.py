"""Who used the processor: the timed processes, others, or the hypervisor; and whether the timed ones had to wait.

All figures are sums since the machine or the process started; those of a turn are differences.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from reid.bench.meters.tree import Tree

__all__ = ["CpuTime", "read_cpu_time", "usable_cpus"]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, slots=True)
class CpuTime:
    """CPU times, in seconds; None for what the system does not tell.

    Attributes:
        busy: what all processes used of the CPUs that this one may use, and the kernel for them.
        stolen: what a hypervisor gave to other machines while one of those CPUs had work to do.
        own: what the timed processes used, with their children.
        waited: how long threads of the timed processes were ready to run, but another one had their CPU.
    """

    busy: float | None
    stolen: float | None
    own: float | None
    waited: float | None


def usable_cpus(tree: Tree, pid: int | str = "self") -> frozenset[int]:
    """Return the CPUs that a process may use; empty where the system does not tell."""
    for line in (tree.text(f"proc/{pid}/status") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "Cpus_allowed_list":
            return frozenset(_numbers(value.strip()))
    return frozenset()


def read_cpu_time(tree: Tree, cpus: frozenset[int], pids: Iterable[int]) -> CpuTime:
    """Read the times of CPUs and of processes with their living children."""
    busy, stolen = _machine(tree, cpus)
    family = _family(tree, pids)
    return CpuTime(busy, stolen, _own(tree, family), _waited(tree, family))


def _machine(tree: Tree, cpus: frozenset[int]) -> tuple[float | None, float | None]:
    """Sum the lines of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal (guests are within user)."""
    rows = [line.split() for line in (tree.text("proc/stat") or "").splitlines() if line.startswith("cpu")]
    ticks = [[int(word) for word in row[1:9]] for row in rows if row[0][3:].isdecimal() and int(row[0][3:]) in cpus]
    if not ticks or any(len(row) < 8 for row in ticks):
        return None, None
    busy = sum(row[0] + row[1] + row[2] + row[5] + row[6] for row in ticks)
    return busy / _TICKS_PER_S, sum(row[7] for row in ticks) / _TICKS_PER_S


def _family(tree: Tree, pids: Iterable[int]) -> list[int]:
    """Return processes and all that descend from them, but for those that another than the main thread has started."""
    family, waiting = [], list(pids)
    while waiting:
        pid = waiting.pop()
        family.append(pid)
        waiting += [int(word) for word in (tree.text(f"proc/{pid}/task/{pid}/children") or "").split()]
    return family


def _own(tree: Tree, family: list[int]) -> float | None:
    """Sum user and system time, also of children that have ended."""
    texts = [text for pid in family if (text := tree.text(f"proc/{pid}/stat"))]
    if family and not texts:
        return None
    words = (text.rpartition(")")[2].split() for text in texts)  # a program's name may hold spaces and brackets
    return sum(sum(int(ticks) for ticks in fields[11:15]) for fields in words) / _TICKS_PER_S


def _waited(tree: Tree, family: list[int]) -> float | None:
    """Sum the threads' time on run queues: the second figure of schedstat, in nanoseconds."""
    paths = [f"proc/{pid}/task/{thread}/schedstat" for pid in family for thread in tree.names(f"proc/{pid}/task")]
    texts = [text for path in paths if (text := tree.text(path))]
    return sum(int(text.split()[1]) for text in texts) / 1e9 if texts else None


def _numbers(text: str) -> Iterable[int]:
    """Return the numbers of a list like 0-3,8,10-11."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            yield from range(int(first), int(last or first) + 1)
