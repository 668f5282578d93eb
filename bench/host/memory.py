"""The most memory that this process had."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

__all__ = ["peak_host_mib"]


def peak_host_mib(status: Path = Path("/proc/self/status")) -> float:
    """Return the peak of the resident memory of this process, in MiB.

    From Linux's status file if there is one: there, `getrusage` would begin with what the parent process had.
    """
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return int(found[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
