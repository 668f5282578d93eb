"""Opening files that others made: regular files only, and none larger than its reader has a use for.

What is wrong is an OSError whose `strerror` says it in a few words, as for any other file that cannot be read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["MEBIBYTE", "check_regular", "check_size", "open_regular"]

MEBIBYTE = 1 << 20

# Opening a named pipe would wait for its writer, without this flag.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "a folder"),
    (stat.S_ISFIFO, errno.EINVAL, "a named pipe"),
    (stat.S_ISSOCK, errno.EINVAL, "a socket"),
)


def check_regular(path: Path, *, at_most: int | None = None) -> int:
    """Return the size of a file, in bytes; refuse what a library would wait for or never finish reading.

    Args:
        path: the file; links are followed.
        at_most: the largest permitted size, in bytes; None for no limit.

    Raises:
        OSError: there is no such file, it is not a regular file, or it is too large.
    """
    try:
        found = os.stat(path)
    except ValueError as error:  # a path that was read from a file may hold a NUL
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    _check(found, path, at_most)
    return found.st_size


def open_regular(path: Path, *, at_most: int | None = None) -> BinaryIO:
    """Open a regular file for reading, without waiting. Arguments and errors are those of check_regular."""
    check_regular(path, at_most=at_most)  # to open a device can have effects of its own
    file = os.fdopen(os.open(path, _FLAGS), "rb")
    try:
        _check(os.fstat(file.fileno()), path, at_most)  # another file may have taken its place
    except OSError:
        file.close()
        raise
    return file


def check_size(size: int, path: str, at_most: int | None) -> None:
    """Raise OSError if a file of so many bytes is larger than permitted."""
    if at_most is not None and size > at_most:
        raise OSError(errno.EFBIG, f"{size:,} bytes, more than the {at_most:,} it may have", path)


def _check(found: os.stat_result, path: Path, at_most: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        number, kind = next(
            ((number, kind) for is_kind, number, kind in _KINDS if is_kind(found.st_mode)), (errno.EINVAL, "a device")
        )
        raise OSError(number, f"{kind}, not a file", str(path))
    check_size(found.st_size, str(path), at_most)
