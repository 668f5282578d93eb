"""A program that runs commands on a disk that is full: a small one of its own, or one on which the shim allows no more.

    python small_disk.py PLAN.json

The plan holds `mounted` (whether the disk is a tmpfs that this program mounts, which it may only in a namespace of its
own; else it runs under the shim), `disk` (the folder), `graph` (the graph that an export copies instead of making it),
and `trials`: each with `first`, `again` and `last`, command lines, and `room`, the parts of what the first wrote that
the others find. Printed is what came of each: a list of (exit code, standard error, whether the disk is as before).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from table.place import tree_of

COMMANDS = {
    name: importlib.import_module(f"reid.commands.{module}").main
    for name, module in (
        ("reid-calibrate", "calibrate"),
        ("reid-data", "data"),
        ("reid-export", "export"),
        ("reid-infer", "infer"),
        ("reid-train", "train"),
    )
}

FAR = 1 << 40
_LARGE = 1 << 28
_PAGE = 4096


class TemporaryDisk:
    """A tmpfs whose size is changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_LARGE}", "tmpfs", folder], check=True)

    def used(self) -> int:
        """Return the bytes that are taken."""
        state = os.statvfs(self._folder)
        return (state.f_blocks - state.f_bfree) * state.f_bsize

    def leave(self, free: int | None) -> None:
        """Leave so many bytes; None for plenty."""
        size = _LARGE if free is None else self.used() + max(_PAGE, free // _PAGE * _PAGE)
        subprocess.run(["mount", "-o", f"remount,size={size}", self._folder], check=True)

    def close(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", self._folder], check=True)


class Quota:
    """What the shim lets programs write, counted in a file; what is removed is not given back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = Path(os.environ["SHIM_STATE"])
        if not self._state.exists():
            self._state.write_bytes(bytes(16))

    def used(self) -> int:
        """Return the bytes that were written."""
        return int(struct.unpack("QQ", self._state.read_bytes())[0])

    def leave(self, free: int | None) -> None:
        """Leave so many bytes; None for plenty."""
        with self._state.open("r+b") as file:
            file.write(struct.pack("Q", 0 if free is None else FAR - free))

    def close(self) -> None:
        """Remove what was written."""
        for path in self._folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def run(line: list[str], disk: Path) -> tuple[int, str, bool]:
    """Run a command in a copy of this process; return its exit code, what it said, and whether nothing changed."""
    before = tree_of(disk)
    with tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            _become(line, err.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        err.seek(0)
        return code, err.read(), tree_of(disk) == before


def _become(line: list[str], err: int) -> None:
    code = 99
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(err, 2)
        sys.argv = line
        COMMANDS[line[0]]()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def trial(disk: Path, mounted: bool, facts: dict[str, Any]) -> list[tuple[int, str, bool]]:
    """Run the first command with plenty of room, the next with too little, and the last with plenty again."""
    space = TemporaryDisk(disk) if mounted else Quota(disk)
    space.leave(None)
    before = space.used()
    done = [run(facts["first"], disk)]
    taken = space.used() - before
    for part in facts["room"]:
        space.leave(int(part * taken))
        done.append(run(facts["again"], disk))
    space.leave(None)
    done.append(run(facts["last"], disk))
    space.close()
    return done


@contextlib.contextmanager
def _quicker(graph: Path) -> Iterator[None]:
    """Copy a graph instead of exporting it: what is written is as large, and it takes seconds less."""
    import reid.export.bundle as writer

    def copy(model: object, card: object, path: Path) -> None:
        path.write_bytes(graph.read_bytes())

    with patch.object(writer, "export_graph", copy):
        yield


def main() -> None:
    """Do what the plan says."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    disk = Path(plan["disk"])
    with _quicker(Path(plan["graph"])):
        found = {name: _reported(disk, plan["mounted"], facts) for name, facts in plan["trials"].items()}
    print(json.dumps(found))


def _reported(disk: Path, mounted: bool, facts: dict[str, Any]) -> list[tuple[int, str, bool]]:
    """Return what came of a trial; where it could not be finished, the reason instead."""
    try:
        return trial(disk, mounted, facts)
    except Exception:
        return [(-1, traceback.format_exc(), False)] * 3


if __name__ == "__main__":
    main()
