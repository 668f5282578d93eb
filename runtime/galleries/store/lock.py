"""One writer at a time: a lock that the kernel takes back when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import platform
import weakref
from pathlib import Path

from reid.runtime.errors import DataError

__all__ = ["LOCK_FILE", "WriterLock"]

LOCK_FILE = "lock"


class WriterLock:
    """The right to write to a gallery's folder. A copy of this process by `fork` does not have it."""

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises DataError if another writer has it, or the folder cannot be written to."""
        try:
            import fcntl
        except ImportError:  # Windows
            raise DataError(f"{folder} cannot be locked on this system; open it for reading") from None
        self._path = path = folder / LOCK_FILE
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            raise DataError(f"{folder} cannot be written to ({error.strerror}); open it for reading") from None
        self._let_close = weakref.finalize(self, os.close, self._descriptor)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 200).decode(errors="replace").strip()
            self._close()
            if not isinstance(error, BlockingIOError):
                raise DataError(f"{path} cannot be locked ({error.strerror}); put it on another file system") from None
            raise DataError(
                f"{folder} is being written by {holder or 'another process'}: wait for it, or open it for reading"
            ) from None
        try:
            self.check()
        except DataError:
            self._close()
            raise
        with contextlib.suppress(OSError):  # on a full disk, others are not told who it is
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
        _held.add(self)

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self._descriptor >= 0

    def check(self) -> None:
        """Raise DataError if the folder has another lock by now: then it is not the folder that was locked."""
        try:
            there = os.stat(self._path)
        except OSError:
            there = None
        if there is None or not os.path.samestat(there, os.fstat(self._descriptor)):
            raise DataError(f"{self._path.parent} was removed or replaced by another process; open it again")

    def release(self) -> None:
        """Give it back; again does nothing."""
        if self.held:
            import fcntl

            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a copy of this process may still have the descriptor
            self._close()

    def _close(self) -> None:
        self._let_close()
        self._descriptor = -1


_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _let_go() -> None:
    """Close the descriptors that a copy of this process got: the lock is the original's, and ends with it."""
    for lock in list(_held):
        if lock.held:
            lock._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
