"""Put a finished folder in its place, so that a kill at any moment leaves the old one or the new one, or can be undone.

Beside its target, a folder is exchanged with the old one in one step where the kernel can, else in two renames. A
mount point, such as a container's volume, cannot be renamed: its entries are moved one by one, the records last, and
three names in the workspace say how far that came:

- `taking/`: the old entries that were moved out so far; the new ones are still in the workspace.
- `replaced/`: all old entries; new ones have begun to move in.
- `names`: the names of all new entries.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

__all__ = [
    "copy_access",
    "exchange",
    "finish_exchange",
    "has_to_be_in_place",
    "holds_old_entries",
    "may_write",
    "publish_beside",
    "publish_in_place",
    "publish_new",
    "restore_beside",
    "restore_in_place",
]

_TAKING, _REPLACED, _NAMES = "taking", "replaced", "names"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_LEFT_ALONE = {"lost+found"}
"""What a file system itself keeps at its root."""


def has_to_be_in_place(target: Path) -> bool:
    """Return whether a folder has to be filled where it is: it cannot be renamed, or is where this process works."""
    if not target.is_dir():
        return False
    parent, here = target.parent, Path.cwd()
    if _is_mount_point(target) or target in (here, *here.parents) or not may_write(parent):
        return True
    owners = {target.stat().st_uid, parent.stat().st_uid}
    return bool(parent.stat().st_mode & 0o1000) and os.geteuid() not in {0, *owners}  # sticky, like /tmp


def may_write(folder: Path) -> bool:
    """Return whether this process may change what is in a folder."""
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _is_mount_point(folder: Path) -> bool:
    if os.path.ismount(folder):
        return True
    try:  # one that is bound to another folder of the same file system only shows here
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            points = [line.split()[4] for line in file]
    except (OSError, IndexError):
        return False
    return str(folder) in {re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), point) for point in points}


def publish_beside(partial: Path, target: Path, workspace: Path) -> None:
    """Put a folder in the place of another, which goes into the workspace."""
    if not target.exists():
        partial.rename(target)
        return
    mode = target.stat().st_mode & 0o7777
    if not _exchange(partial, target):
        try:
            target.rename(workspace / _REPLACED)
            partial.rename(target)
        except BaseException:
            restore_beside(workspace, target)
            raise
    target.chmod(mode)


def publish_new(partial: Path, target: Path) -> None:
    """Put a folder where none is, or an empty one. Raises OSError if another process was faster."""
    with contextlib.suppress(FileNotFoundError):
        partial.chmod(target.stat().st_mode & 0o7777)
    partial.rename(target)  # which takes the place of an empty folder, and of no other


def restore_beside(workspace: Path, target: Path) -> None:
    """Bring back the folder that was moved out, if nothing has taken its place."""
    if (workspace / _REPLACED).exists() and not target.exists():
        (workspace / _REPLACED).rename(target)


def copy_access(source: Path, target: Path) -> None:
    """Give a file or folder the owner and the mode of another; the owner where this process may."""
    state = source.stat()
    with contextlib.suppress(OSError):  # only root may give files away
        os.chown(target, state.st_uid, state.st_gid)
    target.chmod(state.st_mode & 0o7777)


def exchange(one: Path, other: Path, aside: Path) -> None:
    """Exchange two folders: in one step where the kernel can, else by way of a third path.

    A kill between the steps of the latter leaves something to do for `finish_exchange`.
    """
    if _exchange(one, other):
        return
    try:
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
    except BaseException:
        finish_exchange(one, other, aside)
        raise


def finish_exchange(one: Path, other: Path, aside: Path) -> None:
    """Undo an `exchange` that was killed, or finish it, so that neither folder is absent."""
    if aside.is_dir():
        aside.rename(other if one.is_dir() else one)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; return whether kernel and file system can."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def publish_in_place(partial: Path, target: Path, workspace: Path, last: str) -> None:
    """Move the entries of `partial` into `target`; those that are there go into the workspace.

    Args:
        partial: the new folder, within the workspace.
        target: the folder to fill.
        workspace: a folder within the target.
        last: a pattern for the entries without which the folder counts as absent: they go first and come last.
    """
    names = [path.name for path in partial.iterdir()]
    (workspace / _NAMES).write_text(json.dumps(names))
    old = [path.name for path in target.iterdir() if path != workspace and path.name not in _LEFT_ALONE]
    try:
        (workspace / _TAKING).mkdir()
        _move(sorted(old, key=lambda name: not fnmatchcase(name, last)), target, workspace / _TAKING)
        (workspace / _TAKING).rename(workspace / _REPLACED)
        _move(sorted(names, key=lambda name: fnmatchcase(name, last)), partial, target)
    except BaseException:
        restore_in_place(partial, target, workspace)
        raise


def restore_in_place(partial: Path, target: Path, workspace: Path) -> None:
    """Undo what `publish_in_place` did, unless it was finished."""
    replaced = workspace / _REPLACED
    if replaced.is_dir() and any(partial.iterdir()):
        names = json.loads((workspace / _NAMES).read_text())
        _move((name for name in names if os.path.lexists(target / name)), target, partial)
        _move(os.listdir(replaced), replaced, target)
    elif (workspace / _TAKING).is_dir():
        _move(os.listdir(workspace / _TAKING), workspace / _TAKING, target)


def holds_old_entries(workspace: Path) -> bool:
    """Return whether something that was moved out of the target is still in the workspace."""
    return any(any((workspace / name).glob("*")) for name in (_TAKING, _REPLACED))


def _move(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        (source / name).rename(target / name)
