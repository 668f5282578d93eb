"""Formats whose loaders are wrong, each in one way, by which the runner itself is tested."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from fuzz.mutators import BYTES
from fuzz.runner import Format, Prepared, WrongResultError

__all__ = ["FAULTY", "SOUND"]

_SEED = b"sound"
_OUTSIDE = Path(__file__).with_name("written by a loader")


def _sound(file: Path) -> None:
    from reid.runtime.errors import DataError

    raise DataError(f"{file} is damaged; make it again")


def _raises(file: Path) -> None:
    raise KeyError("no such key")


def _exits(file: Path) -> None:
    raise SystemExit(1)


def _as_it_is(error: Exception, message: str) -> Exception:
    """Give an error a message past what makes every message of ours one line."""
    error.args = (message,)
    return error


def _says_two_lines(file: Path) -> None:
    from reid.runtime.errors import DataError

    raise _as_it_is(DataError(), f"{file} is damaged\nand that is all")


def _shows_controls(file: Path) -> None:
    from reid.runtime.errors import DataError

    raise _as_it_is(DataError(), f"{file} holds \x1b[31mred\x1b[0m")


def _says_too_much(file: Path) -> None:
    from reid.runtime.errors import DataError

    raise _as_it_is(DataError(), f"{file} holds {'x' * 3000}")


def _names_nothing(file: Path) -> None:
    from reid.runtime.errors import DataError

    raise DataError("it is damaged")


def _returns_what_is_wrong(file: Path) -> None:
    raise WrongResultError("other ranks")


def _warns(file: Path) -> None:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)


def _computes_for_ever(file: Path) -> None:
    while True:
        pass


def _waits_for_ever(file: Path) -> None:
    os.mkfifo(file.with_name("pipe"))
    open(file.with_name("pipe")).close()


def _takes_memory(file: Path) -> None:
    bytearray(200 << 20)


def _takes_all_memory(file: Path) -> None:
    kept: list[bytes] = []
    while True:
        kept.append(os.urandom(1 << 20) * 16)
        time.sleep(0.01)


def _crashes(file: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _ends_the_process(file: Path) -> None:
    os._exit(3)


def _writes_elsewhere(file: Path) -> None:
    _OUTSIDE.write_text("this")


def _makes_a_folder_elsewhere(file: Path) -> None:
    os.mkdir(_OUTSIDE)


def _renames(file: Path) -> None:
    os.rename(file, _OUTSIDE)


def _asks_the_network(file: Path) -> None:
    import socket

    socket.getaddrinfo("localhost", 9)


def _starts_a_process(file: Path) -> None:
    import subprocess

    subprocess.run(["true"], check=True)


def _prepared(fault: Callable[[Path], None], refuses_seeds: bool, folder: Path) -> Prepared:
    path = folder / "a.file"

    def load(content: bytes) -> None:
        path.write_bytes(content)
        if refuses_seeds or content != _SEED:
            fault(path)

    return Prepared([_SEED], load, str(path))


class _Fault:
    """Prepares a loader with a fault; a function within a function could not be sent to another process."""

    def __init__(self, fault: Callable[[Path], None], refuses_seeds: bool = False) -> None:
        self.fault, self.refuses_seeds = fault, refuses_seeds

    def __call__(self, folder: Path) -> Prepared:
        return _prepared(self.fault, self.refuses_seeds, folder)


def _formats() -> Iterator[tuple[Format, str]]:
    for fault, kind in (
        (_raises, "not a ReidError"),
        (_exits, "not a ReidError"),
        (_warns, "not a ReidError"),
        (_says_two_lines, "a message that is not one printable line"),
        (_shows_controls, "a message that is not one printable line"),
        (_says_too_much, "a message of more than 2,000 characters"),
        (_names_nothing, "a message that does not name the file"),
        (_returns_what_is_wrong, "wrong result"),
        (_computes_for_ever, "takes too long"),
        (_waits_for_ever, "waits"),
        (_takes_memory, "too much memory"),
        (_takes_all_memory, "too much memory"),
        (_crashes, "crashes"),
        (_ends_the_process, "the process ends"),
        (_writes_elsewhere, "more than reading"),
        (_makes_a_folder_elsewhere, "more than reading"),
        (_renames, "more than reading"),
        (_asks_the_network, "more than reading"),
        (_starts_a_process, "more than reading"),
    ):
        yield Format(fault.__name__.strip("_"), _Fault(fault), BYTES), kind
    yield Format("refuses what is sound", _Fault(_sound, refuses_seeds=True), BYTES), "a sound file is refused"


FAULTY = dict(_formats())
"""Format -> the kind of finding that each of its mutants is."""

SOUND = Format("sound", _Fault(_sound), BYTES)
"""A format whose loader is right: it loads the seed and refuses everything else."""
