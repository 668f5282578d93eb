"""What the machine has, as far as Python itself tells: no library is loaded here."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
from importlib.metadata import version
from pathlib import Path

from reid.runtime.doctor.check import Check
from reid.runtime.files.ownership import is_ours
from reid.runtime.files.user_cache import cache_folder

__all__ = ["check_cache", "check_disk", "check_processor", "check_python"]

_GIB = 2**30
_LEAST_FREE = 1 * _GIB
"""What an export of a ResNet50 writes on its way, with room to spare."""


def check_python() -> Check:
    """Return the versions of Python and reid."""
    return Check("Python", "works", f"Python {platform.python_version()}, reid {version('reid')}")


def check_processor() -> Check:
    """Return the cores that this process may use, and the machine's memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / _GIB:.1f} GiB of memory"
    except (AttributeError, ValueError, OSError):  # not on Windows
        memory = ""
    return Check("processor", "works", f"{platform.machine()}, {cores} core{'s' if cores > 1 else ''}{memory}")


def check_disk(folder: Path) -> Check:
    """Return how much is free where commands write."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check("disk", "broken", f"the working folder cannot be read: {error.strerror}; work in another one")
    detail = f"{free / _GIB:.1f} GiB free in the working folder"
    if free < _LEAST_FREE:
        return Check("disk", "broken", f"{detail}, less than {_LEAST_FREE // _GIB} GiB: free some, or work in another")
    return Check("disk", "works", detail)


def check_cache() -> Check:
    """Return whether self-checks that passed can be remembered; nothing is written."""
    folder = cache_folder("self-checks")
    if folder is None:
        return Check("cache", "missing", "there is no home folder; set XDG_CACHE_HOME, or every start is checked anew")
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = f"{there} cannot be written: every start is checked anew"
        return Check("cache", "broken", reason, f"sudo chown -R $USER {shlex.quote(str(there))}")
    if there == folder and not is_ours(folder):
        reason = f"others can write to {folder}: every start is checked anew"
        return Check("cache", "broken", reason, f"chmod 700 {shlex.quote(str(folder))}")
    return Check("cache", "works", str(folder))
