"""What the worker processes of a test run make once for all of them, instead of once each."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["made_once"]


def made_once(base: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Make something unless another worker has; wait while one does. Return the path of it, which ends in `name`.

    Args:
        base: the base of this process's temporary folders.
        name: what it is called.
        make: makes it at a path.
    """
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # xdist gives each worker a folder in one
    folder = shared / f"once-{name}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            make(folder / name)
            (folder / "made").touch()
    return folder / name
