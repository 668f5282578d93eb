"""The server of milvus-lite: threads of this process, one server a file, shared by all who use the file."""

from __future__ import annotations

import atexit
import importlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid.runtime.errors import DataError
from reid.runtime.installs import how_to_install

__all__ = ["start_lite", "stop_lite"]

_GRACE_S = 2.0


@dataclass(slots=True)
class _Running:
    server: Any
    database: Any
    port: int
    users: int = 0


_running: dict[Path, _Running] = {}
_turn = threading.Lock()


def start_lite(file: Path) -> str:
    """Return the address of a file's server, as pymilvus takes it; `stop_lite` has to follow.

    Raises:
        DataError: milvus-lite is not installed, another process has the file open, or it is no file of milvus-lite.
    """
    with _turn:
        path = file.resolve()
        if path not in _running:
            _running[path] = _start(path)
        _running[path].users += 1
        return f"http://127.0.0.1:{_running[path].port}"


def stop_lite(file: Path) -> None:
    """Stop a file's server if nobody else in this process uses it."""
    with _turn:
        running = _running[file.resolve()]
        running.users -= 1
        if not running.users:
            del _running[file.resolve()]
            _stop(running)


def _start(path: Path) -> _Running:
    try:
        lite = importlib.import_module("milvus_lite.adapter.grpc.server")
    except ModuleNotFoundError:
        raise DataError(f"{path} needs milvus-lite: {how_to_install('milvus-lite')}") from None
    try:
        return _Running(*lite.start_server_in_thread(str(path), port=0))
    except Exception as error:  # its own, and those of what it reads
        remedy = "close it in other processes, or rebuild it from its store"
        raise DataError(f"{path} cannot be opened by milvus-lite ({error}); {remedy}") from None


def _stop(running: _Running) -> None:
    running.server.stop(_GRACE_S).wait()
    running.database.close()


@atexit.register
def _stop_all() -> None:
    for running in _running.values():  # of galleries that nobody closed
        _stop(running)
