"""What may lie in a folder under the name of a file: things whose reading would wait, or never end."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SPECIAL = {
    "folder": "a folder, not a file",
    "named pipe": "a named pipe, not a file",
    "socket": "a socket, not a file",
    "device": "a device, not a file",
    "link to itself": "symbolic links",
    "dead link": "No such file",
}
"""Kind -> what its reader says."""


def make_special(path: Path, kind: str) -> None:
    """Put something of a kind from SPECIAL in a place."""
    if kind == "folder":
        path.mkdir()
    elif kind == "named pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, 0o600 | stat.S_IFSOCK)
    else:
        path.symlink_to({"device": "/dev/zero", "link to itself": path.name, "dead link": "nowhere"}[kind])


def forbid(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Let folders be listed by nobody, which file modes do not achieve where tests run as root."""
    scandir = os.scandir

    def refuse(path: Any = ".") -> Iterator[os.DirEntry[str]]:  # noqa: ANN401 - whatever os.scandir takes
        if Path(path) in folders:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def reverse_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every folder be listed against the order of names."""
    scandir = os.scandir

    class Reversed:
        def __init__(self, path: Any = ".") -> None:  # noqa: ANN401 - whatever os.scandir takes
            with scandir(path) as entries:
                self._entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            return self._entries

        def __enter__(self) -> Reversed:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

        def close(self) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
