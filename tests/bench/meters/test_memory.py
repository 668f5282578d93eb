from __future__ import annotations

from pathlib import Path

import pytest
from machine_tree import plant

from reid.bench.meters.memory import available_memory_mib, total_memory_mib
from reid.bench.meters.tree import Tree

MACHINE = "proc/meminfo = MemTotal: 8388608 kB\\nMemFree: 102400 kB\\nMemAvailable: 2097152 kB\n"

NEW_GROUP = (
    "proc/self/cgroup = 0::/jobs\n"
    "sys/fs/cgroup/jobs/memory.max = 1073741824\n"
    "sys/fs/cgroup/jobs/memory.current = 629145600\n"
    "sys/fs/cgroup/jobs/memory.stat = anon 5\\ninactive_file 104857600"
)

OLD_GROUP = (
    "proc/self/cgroup = 4:memory:/docker/1\n"
    "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes = 1073741824\n"
    "sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes = 1178599424\n"
    "sys/fs/cgroup/memory/docker/1/memory.stat = cache 5\\ntotal_inactive_file 0"
)

NO_LIMIT = "proc/self/cgroup = 0::/\nsys/fs/cgroup/memory.max = max\nsys/fs/cgroup/memory.current = 629145600"


@pytest.mark.parametrize(
    ("files", "total", "available"),
    [
        (MACHINE, 8192, 2048),
        (MACHINE + NEW_GROUP, 1024, 524),
        (MACHINE + OLD_GROUP, 1024, 0),
        (MACHINE + NO_LIMIT, 8192, 2048),
        ("proc/version = Linux", None, None),
    ],
)
def test_what_processes_may_use_is_the_machines_or_what_their_group_has(
    tmp_path: Path, files: str, total: float | None, available: float | None
) -> None:
    tree = Tree(plant(tmp_path, files))
    assert total_memory_mib(tree) == total
    assert available_memory_mib(tree) == available
