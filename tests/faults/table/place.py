"""The folder in which a row's command runs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from pathlib import Path
from typing import TypeAlias

from table.world import World

__all__ = ["Place", "Tree", "tree_of"]

Tree: TypeAlias = dict[str, tuple[object, ...]]

_HASHED = 1 << 20
"""What is larger is known by its inode and its times: half a terabyte of nothing takes too long to read."""


class Place:
    """A folder with the sound inputs that a row names, as links; a row makes copies of what it damages.

    Args:
        root: the folder.
        world: the sound inputs.
    """

    def __init__(self, root: Path, world: World) -> None:
        self.root = root
        self.world = world

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def provide(self, *lines: str) -> None:
        """Bring what is named in command lines, and the bundle that commands take where none is named."""
        for line in lines:
            for word in re.split(r"[\s/'\"=]+", line):
                takes_bundle = word in ("reid-infer", "reid-gallery")
                if word in self.world.names or takes_bundle:
                    self._bring("bundle" if takes_bundle else word, copy="reid-export" in line)

    def own(self, name: str) -> Path:
        """Return a copy of a sound input, to be damaged."""
        path = self.root / name
        if path.is_symlink() or not path.exists():
            path.unlink(missing_ok=True)
            _copy(self.world[name], path)
        return path

    def _bring(self, name: str, *, copy: bool) -> None:
        path = self.root / name
        if os.path.lexists(path):
            return
        if copy:  # what an export replaces must not be the only one
            _copy(self.world[name], path)
        else:
            path.symlink_to(self.world[name])


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy(source, target)


def tree_of(root: Path) -> Tree:
    """Return everything below a folder: kind and permissions, and the content of files and links."""
    found: Tree = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            found[str(path.relative_to(root))] = _facts(path)
    return found


def _facts(path: Path) -> tuple[object, ...]:
    state = os.lstat(path)
    if stat.S_ISLNK(state.st_mode):
        return ("link", os.readlink(path))
    if not stat.S_ISREG(state.st_mode):
        return (state.st_mode,)
    if state.st_size > _HASHED or not os.access(path, os.R_OK):
        return (state.st_mode, state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    return (state.st_mode, hashlib.sha256(path.read_bytes()).digest())
