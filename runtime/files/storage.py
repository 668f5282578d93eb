"""Write files and folders that are either whole or absent, whatever interrupts the writing.

What reid did not write is never replaced: a folder that exists has to be empty, or hold only what its own records list,
as it was written. An output is never an input, holds none and lies in none.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import platform
import secrets
import shutil
import stat
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
    publish_new,
    restore_beside,
    restore_in_place,
)
from reid.runtime.files.reading import sha256_of

__all__ = [
    "Records",
    "amended_directory",
    "atomic_directory",
    "atomic_symlink",
    "atomic_write",
    "check_apart",
    "clear_abandoned",
    "companion",
    "first_foreign",
    "is_alive",
    "workspace_for",
]

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
def atomic_directory(
    target: Path, *, records: Records | None, inputs: Iterable[Path] = (), last: str = ""
) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `target` when the block ends without an error.

    Args:
        target: the folder to write. It may exist if it is empty, or if everything in it is as reid wrote it.
        records: what tells that; with None, only an empty folder is replaced.
        inputs: what the block reads. The target must be none of these, hold none, and lie in none.
        last: a pattern for the entries without which the folder counts as absent. A volume, which is filled entry by
            entry, has these last; with "", the records.

    Raises:
        ReidError: `target` exists and is something else, or is not apart from the inputs.
    """
    check_apart(target, inputs)

    def check(real: Path) -> None:
        _check_replaceable(real, target, records)

    with _taking_the_place_of(
        target, check, last or (records.file if records else ""), is_new=records is None
    ) as partial:
        partial.mkdir()
        yield partial


@contextlib.contextmanager
def amended_directory(target: Path, *, last: str) -> Iterator[Path]:
    """Yield a copy of a folder, which takes its place in one step when the block ends without an error.

    Everything stays that the block does not change, whoever put it there. The copy's files are links to the same
    content: to change one, remove it and write another.

    Args:
        target: the folder; where there is none, the copy is empty.
        last: as in `atomic_directory`.

    Raises:
        ReidError: `target` is no folder, may not be changed, or was changed by others during the block.
    """
    before: dict[Path, tuple[int, ...]] | None = None

    def check(real: Path) -> None:
        nonlocal before
        exists = _check_folder(real, target, "move it elsewhere")
        now = {path: _version_of(path) for path in _files(real)} if exists else {}
        if before is not None and now != before:
            raise ReidError(f"{target} was changed by another process meanwhile; try again")
        before = now

    with _taking_the_place_of(target, check, last) as partial:
        _copy_by_links(Path(os.path.realpath(target)), partial)
        yield partial


def _version_of(path: Path) -> tuple[int, ...]:
    state = path.lstat()
    return state.st_ino, state.st_size, state.st_mtime_ns


@contextlib.contextmanager
def _taking_the_place_of(
    target: Path, check: Callable[[Path], None], last: str, *, is_new: bool = False
) -> Iterator[Path]:
    """Yield the path of a folder that the block makes, and put that in the place of `target`.

    Args:
        target: the folder to replace.
        check: raises if its argument, the target with no link in its path, must not be replaced; called twice.
        last: as in `atomic_directory`.
        is_new: whether nothing may be there but an empty folder, at the last moment, too.
    """
    target = Path(os.path.realpath(target))  # which bears a link to itself
    clear_abandoned(target)
    check(target)
    with _workspace(target) as workspace:
        partial = _new_folder(workspace, target)
        partial.parent.mkdir()
        yield partial
        for path in (*partial.rglob("*"), partial):
            _flush_to_disk(path)
        check(target)  # again: much may have changed since
        if workspace.parent == target:
            publish_in_place(partial, target, workspace, last)
        elif is_new:
            _publish_new(partial, target)
        else:
            publish_beside(partial, target, workspace)
        _flush_to_disk(workspace.parent)
        shutil.rmtree(workspace, ignore_errors=True)  # with what was there before


def _publish_new(partial: Path, target: Path) -> None:
    try:
        publish_new(partial, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise ReidError(f"{target} was made by another process meanwhile; choose another place") from None


@contextlib.contextmanager
def workspace_for(target: Path) -> Iterator[Path]:
    """Yield an empty folder for what a folder will get, beside it or, on a volume, in it; it goes when the block ends.

    What killed processes of ours left there is cleared before.
    """
    clear_abandoned(target)
    with _workspace(Path(os.path.realpath(target))) as workspace:
        yield workspace


@contextlib.contextmanager
def _workspace(target: Path) -> Iterator[Path]:
    missing = [folder for folder in target.parents if not folder.exists()]
    workspace = _temporary(target, target if has_to_be_in_place(target) else target.parent)
    try:
        workspace.parent.mkdir(parents=True, exist_ok=True)
        workspace.mkdir(mode=0o700)
        yield workspace
    finally:
        if not holds_old_entries(workspace):  # else the next try restores them
            shutil.rmtree(workspace, ignore_errors=True)
        with contextlib.suppress(OSError):  # one that is not empty now stays, as those around it
            for folder in missing:
                folder.rmdir()


def _new_folder(workspace: Path, target: Path) -> Path:
    """Return where the new folder is until it is whole: one level down, since the target may have any name."""
    return workspace / "new" / target.name


def _copy_by_links(source: Path, target: Path) -> None:
    """Copy a folder, with links to its files, but without what is passed over; an absent one counts as empty."""
    target.mkdir()
    if not source.exists():
        return
    for path in source.iterdir():
        if _is_passed_over(path):
            continue
        if path.is_dir() and not path.is_symlink():
            _copy_by_links(path, target / path.name)
            continue
        try:
            os.link(path, target / path.name, follow_symlinks=False)
        except OSError:  # not on every file system, nor with everybody's files
            shutil.copy2(path, target / path.name, follow_symlinks=False)
    state = source.stat()
    with contextlib.suppress(OSError):  # only root may give folders away
        os.chown(target, state.st_uid, state.st_gid)
    shutil.copystat(source, target)


def _temporary(target: Path, around: Path) -> Path:
    """Return the path, in a folder, of what is written until it is whole."""
    return around / f"{_prefix(target)}{os.getpid()}.{secrets.token_hex(4)}{_SUFFIX}"


def _prefix(target: Path) -> str:
    """Return the start of a workspace's name; with the host, since process numbers are unique only within it."""
    return f".{target.name}.{platform.node()}."


def clear_abandoned(target: Path) -> None:
    """Remove what killed processes of ours left, and restore the folder that one was about to replace.

    Whatever writes the folder does so by itself, but after work that may fail.
    """
    target = Path(os.path.realpath(target))
    for workspace in filter(is_ours, _abandoned(target, target.parent)):
        restore_beside(workspace, target)
        shutil.rmtree(workspace, ignore_errors=True)
    for workspace in filter(is_ours, _abandoned(target, target)):
        restore_in_place(_new_folder(workspace, target), target, workspace)
        shutil.rmtree(workspace, ignore_errors=True)


def _abandoned(target: Path, around: Path) -> list[Path]:
    """List what processes that no longer live, or somebody, left in a folder under the names of writers of `target`."""
    prefix = _prefix(target)
    found = around.glob(f"{glob.escape(prefix)}*{_SUFFIX}")
    return [path for path in found if not is_alive(path.name.removeprefix(prefix).partition(".")[0])]


def is_alive(process: str) -> bool:
    """Return whether a process may be alive, by its number; what is no number may be one that others gave."""
    if not (process.isascii() and process.isdecimal() and len(process) < 10):
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _check_folder(target: Path, shown: Path, otherwise: str) -> bool:
    """Return whether there is a folder; refuse anything else, one that may not be changed, and one that cannot be."""
    if not os.path.lexists(shown):
        around = next(folder for folder in target.parents if os.path.lexists(folder))
        if not around.is_dir():
            raise ReidError(f"{shown} cannot be made: {around} is not a folder; {otherwise}")
        return False
    if not target.is_dir():
        raise ReidError(f"{shown} exists and is not a folder; {otherwise}")
    if not may_write(target):  # to rename a folder takes the right to change it
        raise ReidError(f"{shown}: permission denied; ask its owner for access, or {otherwise}")
    return True


def _check_replaceable(target: Path, shown: Path, records: Records | None) -> None:
    exists = _check_folder(target, shown, "choose another --output")
    foreign = first_foreign(target, records) if exists else None
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
        passed_over = {name for name in (*folders, *files) if _is_passed_over(inner / name)}
        folders[:] = sorted(set(folders) - passed_over)
        yield from (inner / name for name in sorted({*files, *links} - passed_over))


def _raise(error: OSError) -> NoReturn:
    raise error  # a folder that cannot be listed is not empty


def _is_passed_over(path: Path) -> bool:
    """Return whether something was left by a writer that goes on, or is the file system's own."""
    if path.name == "lost+found":
        return os.path.ismount(path.parent)
    return path.name.startswith(".") and path.name.endswith(_SUFFIX) and belongs_to_us(path)


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
    partial = _temporary(target, target.parent)
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
    partial = _temporary(link, link.parent)
    try:
        partial.symlink_to(destination)
        partial.rename(link)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _flush_to_disk(path: Path) -> None:
    state = path.lstat()
    if not stat.S_ISDIR(state.st_mode) and (not stat.S_ISREG(state.st_mode) or state.st_nlink > 1):
        return  # links lead to what has been there before, and to open a named pipe would wait
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)
