"""Archives (.zip and .tar) that are read in place, as if they were folders.

Errors are OSErrors whose `strerror` says in a few words what is wrong, as for files; that of a member names its virtual
path. An archive is listed once in a process, and again when it has changed. Threads and forked processes may read from
it at the same time: each reading opens it anew.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from reid.runtime.files import tar_format, zip_format
from reid.runtime.files.catalog import Catalog, read_blocks
from reid.runtime.files.regular import check_size, open_regular

__all__ = ["Members", "is_archive", "member_blocks", "members", "read_member", "size_of_member", "split_virtual"]


class _Format(NamedTuple):
    scan: Callable[[BinaryIO, int], Catalog]
    blocks: Callable[[BinaryIO, int, int], Iterator[bytes]]


def _tar_blocks(file: BinaryIO, place: int, size: int) -> Iterator[bytes]:
    file.seek(place)
    return read_blocks(file, size)


_FORMATS = {".zip": _Format(zip_format.scan, zip_format.blocks), ".tar": _Format(tar_format.scan, _tar_blocks)}

# What cannot be read from the middle -> what makes a .tar of it, beside it.
_UNPACKERS = {
    **dict.fromkeys((".gz", ".tgz"), "gunzip -k"),
    **dict.fromkeys((".bz2", ".tbz2", ".tbz"), "bunzip2 -k"),
    **dict.fromkeys((".xz", ".txz"), "unxz -k"),
    **dict.fromkeys((".zst", ".tzst"), "unzstd"),
}

_INNER_SUFFIX = re.compile(r"\.\w+(?=/)")

_MOST_ARCHIVES = 256
"""The most archives whose lists are kept: more than the parts that data sets come in."""

_TICK = 2_000_000_000
"""How far apart changes of a file may be and bear the same time, in nanoseconds, on the coarsest of file systems."""


@dataclass(frozen=True, slots=True)
class Members:
    """What is in an archive, folders apart.

    Attributes:
        files: relative path, with slashes -> size in bytes, in the archive's order.
        left_out: name -> why that member cannot be used. Of several members with one name, the last counts; the name is
            then in both.
    """

    files: Mapping[str, int]
    left_out: Mapping[str, str]


def is_archive(path: Path) -> bool:
    """Return whether a path is that of a file that is named as an archive: also one that `members` has to refuse."""
    suffix = path.suffix.lower()
    if suffix not in _FORMATS and not _is_compressed_tar(path):
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def members(archive: Path) -> Members:
    """List what is in an archive. Raises OSError if it cannot be read, is damaged, or of another format."""
    catalog = _catalog(archive, _stat(archive))
    return Members(MappingProxyType(catalog.sizes), MappingProxyType(catalog.left_out))


def split_virtual(path: Path) -> tuple[Path, str] | None:
    """Return the archive that a virtual path leads through, and the member's name; None for any other path."""
    text = path.as_posix()
    for suffix in _INNER_SUFFIX.finditer(text):
        archive = Path(text[: suffix.end()])
        if is_archive(archive):
            return archive, text[suffix.end() + 1 :]
    return None


def size_of_member(archive: Path, name: str) -> int:
    """Return the size of a member, in bytes. Raises OSError if there is none."""
    return _size(_catalog(archive, _stat(archive)), name, f"{archive}/{name}")


def read_member(archive: Path, name: str, *, at_most: int) -> bytes:
    """Return the content of a member of at most so many bytes; see member_blocks."""
    return b"".join(member_blocks(archive, name, at_most=at_most))


def member_blocks(archive: Path, name: str, *, at_most: int | None = None) -> Iterator[bytes]:
    """Yield the content of a member in blocks of at most 1 MiB.

    Args:
        archive: the archive.
        name: the member's name.
        at_most: the largest permitted size, in bytes; None for no limit.

    Raises:
        OSError: the archive cannot be read; the member is absent, left out or too large; or, after the last block was
            made, the content is not of the size and checksum that the archive says, or the archive has changed.
    """
    path = f"{archive}/{name}"
    with open_regular(archive) as file:
        found = os.fstat(file.fileno())
        catalog = _catalog(archive, found)
        size = _size(catalog, name, path)
        check_size(size, path, at_most)
        try:
            yield from _format_of(archive).blocks(file, catalog.places[name], size)
        except ValueError as flaw:
            raise OSError(errno.EINVAL, f"damaged in the archive: {flaw}", path) from None
        if _identity(os.fstat(file.fileno())) != _identity(found):
            raise OSError(errno.EINVAL, "the archive changed while it was read", path)


def _size(catalog: Catalog, name: str, path: str) -> int:
    if name in catalog.sizes:
        return catalog.sizes[name]
    if name in catalog.left_out:
        raise OSError(errno.EINVAL, catalog.left_out[name], path)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _stat(archive: Path) -> os.stat_result:
    try:
        return os.stat(archive)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(archive)) from None


def _is_compressed_tar(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in _UNPACKERS and (suffix.startswith(".t") or path.stem.lower().endswith(".tar"))


def _format_of(archive: Path) -> _Format:
    if found := _FORMATS.get(archive.suffix.lower()):
        return found
    if _is_compressed_tar(archive):
        command = f"{_UNPACKERS[archive.suffix.lower()]} {quote(str(archive))}"
        raise OSError(errno.EINVAL, f"compressed as a whole; unpack it, or make a .tar of it: {command}", str(archive))
    raise OSError(errno.EINVAL, "neither a folder nor an archive (.zip, .tar)", str(archive))


# Lists of archives


_Identity = tuple[int, int, int, int]

_catalogs: OrderedDict[tuple[str, _Identity], Catalog] = OrderedDict()
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a process must not inherit a lock that nobody in it will release
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _catalog(archive: Path, found: os.stat_result) -> Catalog:
    """Return the list of an archive, of which `found` was said; make it if there is none."""
    scan, key = _format_of(archive).scan, (archive.suffix.lower(), _identity(found))
    with _lock:
        if key in _catalogs:
            _catalogs.move_to_end(key)
            return _catalogs[key]
        is_settled = abs(time.time_ns() - found.st_mtime_ns) > _TICK
        catalog = _scanned(archive, scan, key[1])
        if is_settled:  # otherwise it may yet change and look the same
            _catalogs[key] = catalog
        if len(_catalogs) > _MOST_ARCHIVES:
            _catalogs.popitem(last=False)
        return catalog


def _scanned(archive: Path, scan: Callable[[BinaryIO, int], Catalog], identity: _Identity) -> Catalog:
    with open_regular(archive) as file:
        before = os.fstat(file.fileno())
        flaw = ""
        try:
            catalog = scan(file, before.st_size)
        except ValueError as error:
            flaw = str(error)
        if {_identity(before), _identity(os.fstat(file.fileno()))} != {identity}:
            raise OSError(errno.EINVAL, "it changed while it was read", str(archive))
    if flaw:
        text = f"no sound {archive.suffix.lower()} archive: {flaw}; copy or make it again, or unpack it"
        raise OSError(errno.EINVAL, text, str(archive))
    return catalog
