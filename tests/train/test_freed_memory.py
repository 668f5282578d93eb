"""Freed memory is used again without a fault of its pages, which a process of its own counts."""

import subprocess
import sys

import pytest

_COUNT = """
import resource, sys
import numpy as np
from reid.train.freed_memory import keep_freed_memory
if {keep} and not keep_freed_memory():
    sys.exit(77)
def fill():
    np.empty(48 << 20, dtype=np.uint8).fill(1)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(keep: bool) -> int:
    done = subprocess.run([sys.executable, "-c", _COUNT.format(keep=keep)], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_freed_memory_is_used_again_without_new_pages() -> None:
    assert _faults(keep=True) * 10 < _faults(keep=False)
