"""What lies in a folder that others share is trusted only if it is this user's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["belongs_to_us", "is_ours"]

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def is_ours(path: Path) -> bool:
    """Return whether a file or folder belongs to this user and nobody else can write to it; no link is followed."""
    return belongs_to_us(path) and not os.lstat(path).st_mode & _WRITABLE_BY_OTHERS


def belongs_to_us(path: Path) -> bool:
    """Return whether a file or folder belongs to this user, whoever else can write to it; no link is followed."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return not stat.S_ISLNK(found.st_mode) and found.st_uid == os.geteuid()
