"""Write files and folders that are either whole or absent, whatever interrupts the writing."""

from __future__ import annotations

import contextlib
import glob
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from reid.runtime.errors import ReidError

__all__ = ["atomic_directory", "atomic_write"]


_SUFFIX = ".partial"


@contextlib.contextmanager
def atomic_directory(target: Path, *, replaces: str | None) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that takes its place when the block ends without an error.

    Args:
        target: the folder to write. It may exist if it is empty or of the same kind.
        replaces: the name of a file that every folder of this kind holds. A folder without it is never replaced;
            with None, only an empty folder is.

    Raises:
        ReidError: `target` exists and is something else.
    """
    _clear_abandoned(target)
    _check_replaceable(target, replaces)
    target.parent.mkdir(parents=True, exist_ok=True)
    # mkdtemp makes private folders; what is published gets the permissions that mkdir would have given.
    prefix = f"{_prefix(target)}{os.getpid()}."
    workspace = Path(tempfile.mkdtemp(prefix=prefix, suffix=_SUFFIX, dir=target.parent))
    partial = workspace / target.name
    try:
        partial.mkdir()
        yield partial
        for path in sorted(partial.rglob("*")):
            if path.is_file():
                _flush_to_disk(path)
        _check_replaceable(target, replaces)  # again: much may have changed since
        _put_in_place(partial, target, workspace / "replaced")
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _prefix(target: Path) -> str:
    """Return the start of a workspace's name; with the host, since process numbers are unique only within it."""
    return f".{target.name}.{platform.node()}."


def _clear_abandoned(target: Path) -> None:
    """Remove what a killed process left beside `target`, and restore the folder that it was about to replace."""
    for workspace in target.parent.glob(f"{glob.escape(_prefix(target))}*{_SUFFIX}"):
        process = workspace.name.removeprefix(_prefix(target)).partition(".")[0]
        if not process.isdecimal() or _is_alive(int(process)):
            continue
        replaced = workspace / "replaced"
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        shutil.rmtree(workspace, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _put_in_place(partial: Path, target: Path, replaced: Path) -> None:
    try:
        if target.exists():
            target.rename(replaced)
        partial.rename(target)
    except BaseException:
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        raise


def _check_replaceable(target: Path, marker: str | None) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise ReidError(f"{target} exists and is not a folder; choose another --output")
    if marker is None and any(target.iterdir()):
        raise ReidError(f"{target} exists and is not empty; choose another --output")
    if marker and any(target.iterdir()) and not (target / marker).is_file():
        raise ReidError(f"{target} exists and holds something else (no {marker}); choose another --output")


def atomic_write(target: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to disk, and rename it to `target`."""
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=f".{target.name}.", suffix=".partial", delete=False
    ) as file:
        partial = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            partial.chmod(0o644)
            partial.rename(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
