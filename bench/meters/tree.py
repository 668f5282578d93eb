"""The small files in which an operating system and its devices tell of themselves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from glob import glob

__all__ = ["Tree"]

_AT_ONCE = 16384


@dataclass(frozen=True, slots=True)
class Tree:
    """The files below a root folder; all paths are relative to it.

    What is not there, or may not be read, is None: a meter asks for a lot that only some machines have.

    Attributes:
        root: the folder, "/" for this machine.
    """

    root: str = "/"

    def full(self, path: str) -> str:
        """Return a path with its root."""
        return f"{self.root.rstrip('/')}/{path}"

    def text(self, path: str) -> str | None:
        """Return a file's text without the white space and the zeros around it, or None where it cannot be read."""
        try:
            return _content(self.full(path)).decode(errors="replace").strip("\0 \t\r\n")
        except OSError:  # also a sensor that is there, but does not answer (EIO, EAGAIN)
            return None

    def integer(self, path: str) -> int | None:
        """Return the integer in a file, or None where there is none."""
        text = self.text(path)
        try:
            return int(text) if text else None
        except ValueError:
            return None

    def find(self, pattern: str) -> list[str]:
        """Return the paths that match a pattern, sorted."""
        return sorted(glob(pattern, root_dir=self.root))

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder; none where it is not there."""
        try:
            return os.listdir(self.full(folder))
        except OSError:
            return []

    def is_refused(self, path: str) -> bool:
        """Return whether a file is there, but this user may not read it."""
        try:
            with open(self.full(path), "rb"):
                return False
        except OSError as error:
            return isinstance(error, PermissionError)


def _content(path: str) -> bytes:
    """Read a file by the system's own calls: a turn reads hundreds, and `open` takes twice as long.

    A file of /proc comes in pieces, of a page each, so only an empty one is its end.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: os.read(file, _AT_ONCE), b""))
    finally:
        os.close(file)
