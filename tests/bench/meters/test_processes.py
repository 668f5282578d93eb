from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from machine_tree import plant, recorded

from reid.bench.meters.cgroups import memory_limit_mib, quota_cores, quota_waits_s
from reid.bench.meters.cpu_time import read_cpu_time, usable_cpus
from reid.bench.meters.tree import Tree

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FAMILY = """\
proc/7/stat = 7 (a (b) c) S 1 7 7 0 -1 4194304 0 0 0 0 200 50 30 20 20 0 3 0 100 0 0
proc/7/task/7/children = 9 12
proc/7/task/7/schedstat = 2500000000 400000000 31
proc/7/task/8/schedstat = 100000000 100000000 3
proc/9/stat = 9 (x) S 7 7 7 0 -1 4194304 0 0 0 0 100 0 0 0 20 0 1 0 100 0 0
proc/9/task/9/children =
proc/9/task/9/schedstat = 1000000000 250000000 5
"""


def test_a_process_counts_with_its_children_and_threads(tmp_path: Path) -> None:
    tree = Tree(plant(tmp_path, FAMILY))  # process 12 has ended meanwhile
    times = read_cpu_time(tree, frozenset({0}), [7])
    ticks = os.sysconf("SC_CLK_TCK")
    assert times.own == pytest.approx((200 + 50 + 30 + 20 + 100) / ticks)
    assert times.waited == pytest.approx(0.75)
    assert times.busy is None


def test_only_the_cpus_count_that_the_process_may_use(tmp_path: Path) -> None:
    tree = Tree(recorded(tmp_path, "intel-server"))
    assert usable_cpus(tree) == {2, 3}
    times = read_cpu_time(tree, usable_cpus(tree), ())
    assert times.busy == pytest.approx((400 + 10 + 90 + 400 + 100) / os.sysconf("SC_CLK_TCK"))
    assert times.own == 0
    assert usable_cpus(Tree(recorded(tmp_path, "agx-orin"))) == {0, 1, 2, 3, 8, 9, 10, 11}


@linux
def test_the_times_of_this_process_are_those_that_python_knows() -> None:
    before = sum(os.times()[:4])
    own = read_cpu_time(Tree(), usable_cpus(Tree()), [os.getpid()]).own
    after = sum(os.times()[:4])
    assert own is not None
    # Living children of the test runner would count as well: it has none.
    assert before - 0.05 <= own <= after + 0.05
    assert usable_cpus(Tree()) == os.sched_getaffinity(0)


def test_quotas_of_both_versions_of_control_groups(tmp_path: Path) -> None:
    new = Tree(recorded(tmp_path / "new", "intel-server"))
    assert quota_cores(new) == 1.5
    assert memory_limit_mib(new) == 16384
    plant(
        tmp_path / "new", "sys/fs/cgroup/cpu.stat = usage_usec 9\nsys/fs/cgroup/jobs/cpu.stat = throttled_usec 2500000"
    )
    assert quota_waits_s(new, "self") == 2.5

    old = plant(
        tmp_path / "old",
        "proc/self/cgroup = 9:name=systemd:/\\n2:cpu,cpuacct:/docker/1\\n4:memory:/\\n0::/\n"
        "sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us = 200000\n"
        "sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us = 100000\n"
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us = -1\n"
        "sys/fs/cgroup/cpu/docker/1/cpu.stat = nr_periods 5\\nnr_throttled 2\\nthrottled_time 1500000000",
    )
    assert quota_cores(Tree(old)) == 2.0
    assert quota_waits_s(Tree(old), "self") == 1.5
    assert memory_limit_mib(Tree(old)) is None
    assert quota_cores(Tree(str(tmp_path))) is None
