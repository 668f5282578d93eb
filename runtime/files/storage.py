"""Write files and folders that are either whole or absent, whatever interrupts the writing.

What reid did not write is never replaced: a folder that exists has to be empty, or hold only what its own records list,
as it was written. An output is never an input, holds none and lies in none.
"""

from __future__ import annotations

import contextlib
import glob
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from reid.runtime.errors import ReidError
from reid.runtime.files.ownership import belongs_to_us, is_ours
from reid.runtime.files.publishing import (
    has_to_be_in_place,
    holds_old_entries,
    may_write,
    publish_beside,
    publish_in_place,
    restore_beside,
    restore_in_place,
)
from reid.runtime.files.reading import sha256_of

__all__ = ["Records", "atomic_directory", "atomic_symlink", "atomic_write", "check_apart", "companion", "first_foreign"]

_SUFFIX = ".partial"


@dataclass(frozen=True, slots=True)
class Records:
    """Where folders of one kind say what reid wrote into them.

    Attributes:
        file: the name of the file with the records.
        read: returns what a folder's records list: relative name -> SHA-256. May raise ReidError or OSError.
    """

    file: str
    read: Callable[[Path], Mapping[str, str]]


@contextlib.contextmanager
def atomic_directory(target: Path, *, records: Records | None, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `target` when the block ends without an error.

    Args:
        target: the folder to write. It may exist if it is empty, or if everything in it is as reid wrote it.
        records: what tells that; with None, only an empty folder is replaced.
        inputs: what the block reads. The target must be none of these, hold none, and lie in none.

    Raises:
        ReidError: `target` exists and is something else, or is not apart from the inputs.
    """
    shown, target = target, Path(os.path.realpath(target))  # which bears a link to itself
    check_apart(shown, inputs)
    _clear_abandoned(target)
    _check_replaceable(target, shown, records)
    missing = [folder for folder in target.parents if not folder.exists()]
    in_place = has_to_be_in_place(target)
    around = target if in_place else target.parent
    workspace = around / f"{_prefix(target)}{os.getpid()}.{secrets.token_hex(4)}{_SUFFIX}"
    partial = workspace / target.name
    published = False
    try:
        around.mkdir(parents=True, exist_ok=True)
        workspace.mkdir(mode=0o700)
        partial.mkdir()
        yield partial
        for path in (*partial.rglob("*"), partial):
            _flush_to_disk(path)
        _check_replaceable(target, shown, records)  # again: much may have changed since
        if in_place:
            publish_in_place(partial, target, workspace, records.file if records else None)
        else:
            publish_beside(partial, target, workspace)
        published = True
        _flush_to_disk(around)
    finally:
        if published or not holds_old_entries(workspace):  # else the next try restores them
            shutil.rmtree(workspace, ignore_errors=True)
        if not published:
            with contextlib.suppress(OSError):
                for folder in missing:
                    folder.rmdir()


def _prefix(target: Path) -> str:
    """Return the start of a workspace's name; with the host, since process numbers are unique only within it."""
    return f".{target.name}.{platform.node()}."


def _clear_abandoned(target: Path) -> None:
    """Remove what killed processes of ours left, and restore the folder that one was about to replace."""
    for workspace in filter(is_ours, _abandoned(target, target.parent)):
        restore_beside(workspace, target)
        shutil.rmtree(workspace, ignore_errors=True)
    for workspace in filter(is_ours, _abandoned(target, target)):
        restore_in_place(workspace / target.name, target, workspace)
        shutil.rmtree(workspace, ignore_errors=True)


def _abandoned(target: Path, around: Path) -> list[Path]:
    """List what processes that no longer live, or somebody, left in a folder under the names of writers of `target`."""
    prefix = _prefix(target)
    found = around.glob(f"{glob.escape(prefix)}*{_SUFFIX}")
    return [path for path in found if not _is_alive(path.name.removeprefix(prefix).partition(".")[0])]


def _is_alive(process: str) -> bool:
    if not (process.isascii() and process.isdecimal() and len(process) < 10):
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _check_replaceable(target: Path, shown: Path, records: Records | None) -> None:
    if not os.path.lexists(shown):
        around = next(folder for folder in target.parents if os.path.lexists(folder))
        if not around.is_dir():
            raise ReidError(f"{shown} cannot be made: {around} is not a folder; choose another --output")
        return
    if not target.is_dir():
        raise ReidError(f"{shown} exists and is not a folder; choose another --output")
    if not may_write(target):  # to rename a folder takes the right to change it
        raise ReidError(f"{shown}: permission denied; ask its owner for access, or choose another --output")
    foreign = first_foreign(target, records)
    if foreign is not None and records is None:
        raise ReidError(f"{shown} exists and is not an empty folder; remove it or choose another output")
    if foreign is not None:
        raise ReidError(
            f"{shown} holds {foreign}, which is not as reid wrote it; move it elsewhere or choose another --output"
        )


def first_foreign(target: Path, records: Records | None) -> Path | None:
    """Return a file in a folder that is not ours to remove: not in the folder's records, or changed since."""
    listed: dict[str, str | None] = {}
    if records and os.path.lexists(target / records.file):
        with contextlib.suppress(ReidError, OSError):
            listed = {**records.read(target), records.file: None}
    for path in _files(target):
        name = path.relative_to(target).as_posix()
        if path.is_symlink() or name not in listed or listed[name] not in (None, sha256_of(path)):
            return path.relative_to(target)
    return None


def _files(target: Path) -> Iterator[Path]:
    """Yield everything below a folder that is not itself a folder, but not what writers that go on leave there."""
    for folder, folders, files in os.walk(target, onerror=_raise):
        inner = Path(folder)
        links = {name for name in folders if (inner / name).is_symlink()}
        passed_over = {name for name in (*folders, *files) if _is_temporary(inner / name) or _is_system(inner / name)}
        folders[:] = sorted(set(folders) - passed_over)
        yield from (inner / name for name in sorted({*files, *links} - passed_over))


def _raise(error: OSError) -> NoReturn:
    raise error  # a folder that cannot be listed is not empty


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(_SUFFIX) and belongs_to_us(path)


def _is_system(folder: Path) -> bool:
    return folder.name == "lost+found" and os.path.ismount(folder.parent)


def check_apart(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is an input, holds one, or lies in one; links and mounts are seen through.

    Raises:
        ReidError: naming both.
    """
    around_output = _identities(output)
    for path in inputs:
        around_input = _identities(path)
        exists = path.exists()
        if output.exists() and exists and around_output[0] == around_input[0]:
            relation = "is"
        elif exists and around_input[0] in around_output:
            relation = "lies in"
        elif output.exists() and around_output[0] in around_input:
            relation = "holds"
        else:
            continue
        raise ReidError(f"{output} {relation} {path}, which is an input; choose another place for it")


def companion(output: Path, suffix: str) -> Path:
    """Return the file in which a command keeps what it has so far, between one try to write `output` and the next.

    It lies beside the output, as `OUTPUT.suffix`, or in it where nothing can be kept beside it: on a volume.
    """
    real = Path(os.path.realpath(output))
    named = output if output.name not in ("", "..") else real
    if has_to_be_in_place(real):
        return named / f".{suffix}{_SUFFIX}"
    return named.with_name(f"{named.name}.{suffix}")


def _identities(path: Path) -> list[tuple[int, int]]:
    """Return device and inode of a path and of all folders around it, from the inside out, as far as they exist."""
    real = Path(os.path.realpath(path))
    found = []
    for one in (real, *real.parents):
        with contextlib.suppress(OSError):
            state = one.stat()
            found.append((state.st_dev, state.st_ino))
    return found


def atomic_write(target: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to disk, and rename it to `target`."""
    for abandoned in filter(belongs_to_us, _abandoned(target, target.parent)):
        abandoned.unlink(missing_ok=True)
    partial = target.with_name(f"{_prefix(target)}{os.getpid()}.{secrets.token_hex(4)}{_SUFFIX}")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def atomic_symlink(link: Path, destination: str) -> None:
    """Make a symbolic link, or let one that is there lead elsewhere, so that there is no moment without it."""
    for abandoned in _abandoned(link, link.parent):
        if abandoned.is_symlink():
            abandoned.unlink(missing_ok=True)
    partial = link.with_name(f"{_prefix(link)}{os.getpid()}.{secrets.token_hex(4)}{_SUFFIX}")
    try:
        partial.symlink_to(destination)
        partial.rename(link)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)
