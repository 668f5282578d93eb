"""The user's cache folder: what it holds saves time, is trusted only if it is the user's own, and may vanish."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from reid.runtime.files.ownership import is_ours
from reid.runtime.files.reading import read_file
from reid.runtime.files.storage import atomic_write

__all__ = ["cache_folder", "recall", "remember"]


def cache_folder(name: str) -> Path | None:
    """Return reid's folder for one kind of thing, which may not exist; None where the user has no cache folder."""
    cache = Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"))
    # If not absolute, there is no home folder, or the variable is to be ignored (XDG Base Directory Specification).
    return cache / "reid" / name if cache.is_absolute() else None


def recall(entry: Path, *, at_most: int) -> bytes | None:
    """Return what this user remembered; None where there is nothing, or where others could have written it."""
    try:
        return read_file(entry, at_most=at_most) if is_ours(entry.parent) and is_ours(entry) else None
    except OSError:
        return None


def remember(entry: Path, content: bytes) -> None:
    """Write an entry that only this user can read, whole or not at all; not where that is impossible."""
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.parent.chmod(stat.S_IRWXU)  # fails where the folder is another user's
        atomic_write(entry, content)
        entry.chmod(stat.S_IRUSR | stat.S_IWUSR)
