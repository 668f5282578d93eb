"""Running the command of a row, and checking that it ends as it should and that nothing else happens."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fnmatch
import importlib
import os
import re
import resource
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from command_line import Run

from table.place import Place, Tree, tree_of
from table.row import QUOTED, Row, parsed
from table.world import World

__all__ = ["attempt"]

_SECONDS = 300
"""Only what hangs takes as long."""

_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2

_OF_THE_PROCESS = ("torchinductor_", "pymp-")
"""PyTorch's cache, and the folder of multiprocessing, which goes when the process ends."""

_MODULES = {
    "reid-bench": "bench",
    "reid-calibrate": "calibrate",
    "reid-data": "data",
    "reid-doctor": "doctor",
    "reid-eval": "evaluate",
    "reid-export": "export",
    "reid-gallery": "gallery",
    "reid-infer": "infer",
    "reid-serve": "serve",
    "reid-train": "train",
    "reid-verify": "verify",
}


def attempt(row: Row, world: World, run: Run, folder: Path) -> None:
    """Make a row's inputs, run its command and its remedy, and check both.

    Args:
        row: the row.
        world: the sound inputs.
        run: runs the main function of a command; see run_main in the common fixtures.
        folder: a fresh folder.
    """
    with _place_for(world, folder) as place:
        place.provide(row.line, row.then)
        for make in row.makers:
            make(place)
        sound, before, memory = world.facts(), tree_of(place.root), _largest_memory()
        code, out, err = _run(row, row.line, run, place)
        line = _check_words(row, code, out, err)
        if row.at_most is not None:
            assert _largest_memory() - memory <= row.at_most, "MiB of memory"
        _check_files(row, before, tree_of(place.root))
        assert world.facts() == sound, "an input outside the folder was changed"
        if row.check:
            row.check(place)
        if row.then:
            then = _quoted(line) if row.then == QUOTED else row.then
            code, out, err = _run(row, then, run, place)
            assert code == 0, f"the remedy {then} does not work: {err}"


@contextlib.contextmanager
def _place_for(world: World, folder: Path) -> Iterator[Place]:
    """Yield a folder that is the working folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Place(folder, world)


def _run(row: Row, line: str, run: Run, place: Place) -> tuple[int, str, str]:
    variables, command, arguments = parsed(line)
    main = importlib.import_module(f"reid.commands.{_MODULES[command]}").main
    before = dict(os.environ)
    # Not within the row's folder: processes of PyTorch meet at sockets there, whose paths may not be long. What a row
    # itself names lies within it, and is checked with everything else there.
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", None if "TMPDIR" in variables else temporary)
        os.environ.update({"TMPDIR": temporary, **variables})
        try:
            with _permissions_apply() if row.unprivileged else contextlib.nullcontext(), _limited(_SECONDS):
                return run(main, command, *arguments)
        finally:
            os.environ.clear()
            os.environ.update(before)
            assert Path.cwd() == place.root.resolve()
            left = [name for name in os.listdir(temporary) if not name.startswith(_OF_THE_PROCESS)]
            assert left == [], "temporary files are left"


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("process", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable"))


@contextlib.contextmanager
def _permissions_apply() -> Iterator[None]:
    """Give up for a while what lets root read and write everything; other users do not have it (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, parts = _CapabilityHeader(0x20080522, 0), (_Capabilities * 2)()
    assert libc.capget(ctypes.byref(header), parts) == 0
    before = parts[0].effective
    parts[0].effective &= ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
    assert libc.capset(ctypes.byref(header), parts) == 0
    try:
        yield
    finally:
        parts[0].effective = before
        assert libc.capset(ctypes.byref(header), parts) == 0


class _Hang(BaseException):
    """The command did not end in time; no handler of the command's own takes this."""


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise _Hang(f"no end after {seconds} seconds")

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(2 * seconds, exit=True)  # a library that waits heeds no signal
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def _check_words(row: Row, code: int, out: str, err: str) -> str:
    """Check what was printed; return the line of the error."""
    assert "Traceback" not in err
    assert code == row.code, err or out
    assert all(one.isprintable() or one == "\n" for one in err), "a terminal would obey this"
    if code == 0:
        assert re.search(row.says, out + err), out + err
        return err
    prefix = "Error: " if code == 2 else "error: "
    lines = [line for line in err.splitlines() if line.startswith(prefix)]
    assert out == ""
    assert len(lines) == 1, err
    assert err.endswith(f"{lines[0]}\n"), err
    assert re.search(row.says, lines[0]), lines[0]
    return lines[0]


def _check_files(row: Row, before: Tree, after: Tree) -> None:
    new = [name for name in after if name not in before and not _is_among(name, (*row.leaves, *row.changes))]
    gone = [name for name in before if name not in after and not _is_among(name, row.changes)]
    changed = [
        name for name in before if name in after and before[name] != after[name] and not _is_among(name, row.changes)
    ]
    assert [new, gone, changed] == [[], [], []], f"new: {new}, gone: {gone}, changed: {changed}"


def _is_among(name: str, patterns: tuple[str, ...]) -> bool:
    parts = name.split("/")
    return any(
        fnmatch.fnmatchcase("/".join(parts[: length + 1]), pattern)
        for pattern in patterns
        for length in range(len(parts))
    )


def _quoted(line: str) -> str:
    found = re.search(r"`([^`]+)`", line)
    assert found, f"no command between backquotes: {line}"
    return found[1]


def _largest_memory() -> int:
    """Return the most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
