"""Tasks on the machines of a Ray cluster, by Ray Data: a pool of workers, which Ray starts again where one dies.

The only file that knows Ray. It speaks through our progress and our errors alone: Ray's bars, logs and statistics of
use are off, and nothing is fetched from a network.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from reid.runtime.embedding_jobs.parts import Task
from reid.runtime.embedding_jobs.worker import Job, Report, Worker
from reid.runtime.errors import ReidError, SessionError
from reid.runtime.files.ownership import is_ours
from reid.runtime.files.storage import is_alive
from reid.runtime.installs import how_to_install
from reid.runtime.text import one_line

__all__ = ["LOCAL", "Cluster", "connected", "run_tasks"]

LOCAL = "local"
"""The address that starts a Ray of its own on this machine."""

_LOCAL_STORE = 128 << 20
"""Bytes of memory for what a Ray of our own has under way: tasks and reports are small."""

_ANSWER_SECONDS = 10.0
_SCRATCH = "reid-ray-"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where to work, and with how many.

    Attributes:
        address: HOST:PORT of Ray's head, "auto" for the cluster that this machine is part of, or LOCAL.
        workers: how many; None for as many as there is room for.
        cpus: the CPUs of each, which are its threads, too.
        gpus: the GPUs of each, or a fraction of one.
    """

    address: str
    workers: int | None = None
    cpus: int = 1
    gpus: float = 0.0


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[int]:
    """Connect to a cluster, or start one; yield how many workers to use.

    Raises:
        SessionError: Ray is not installed, there is no such cluster, or it has no room for a worker.
    """
    ray = _quiet_ray(cluster.address)
    scratch = _scratch() if cluster.address == LOCAL else contextlib.nullcontext("")
    with scratch as folder, open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), _own_handler():
        try:
            _connect(ray, cluster, folder)
            yield cluster.workers or _room(ray, cluster)
        finally:
            ray.shutdown()


def run_tasks(tasks: Sequence[Task], job: Job, cluster: Cluster, workers: int) -> Iterator[Report]:
    """Yield the report of each task, as soon as it is there. Ray is connected.

    Raises:
        ReidError: workers cannot be started, or die again and again.
    """
    import ray
    from ray.data import ActorPoolStrategy

    worker: Any = Worker  # the types of Ray know functions alone
    rows = [{"task": pickle.dumps(task)} for task in tasks]  # as bytes: not every name of a file is text
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        worker,
        fn_constructor_args=[job],
        compute=ActorPoolStrategy(size=min(workers, len(tasks))),
        num_cpus=cluster.cpus,
        num_gpus=cluster.gpus or None,
    )
    try:
        for row in dataset.iter_rows():
            yield pickle.loads(row["report"])
    except ray.exceptions.RayError as error:
        raise ReidError(f"Ray's workers failed: {_reason(error)}; the same call goes on where it was") from None


def _quiet_ray(address: str) -> ModuleType:
    """Import Ray so that it neither reports statistics, nor writes to the terminal, nor takes orders from others."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address == LOCAL and "RAY_AUTH_MODE" not in os.environ:  # its ports are open to the network
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        install = how_to_install("ray")
        raise SessionError(f"--ray needs {error.name}, which is not installed: {install}") from None
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


def _connect(ray: ModuleType, cluster: Cluster, scratch: str) -> None:
    own: dict[str, Any] = {}
    if cluster.address == LOCAL:
        own = {
            "num_cpus": cluster.workers * cluster.cpus if cluster.workers else None,
            "object_store_memory": _LOCAL_STORE,
            "include_dashboard": False,
            "_temp_dir": scratch,
        }
    try:
        _knock(cluster.address)
        with _without_native_lines():
            ray.init(cluster.address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        remedy = "start one with `ray start --head`, or use --ray local"
        raise SessionError(f"Ray cannot be reached at {cluster.address} ({_reason(error)}); {remedy}") from None


def _knock(address: str) -> None:
    """Raise OSError where nothing answers at an address of the form HOST:PORT: Ray would wait for minutes."""
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, colon, port = address.rpartition(":")
    if colon and "//" not in address and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """Yield a folder for the sockets and logs of a Ray of our own; the paths of sockets have to be short.

    What killed processes left is removed.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        if is_ours(left) and not is_alive(left.name.removeprefix(_SCRATCH).partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _own_handler() -> Iterator[None]:
    """Let a termination do what it did before Ray took it over."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _without_native_lines() -> Iterator[None]:
    """Drop what libraries print on standard error past Python, meanwhile."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _room(ray: ModuleType, cluster: Cluster) -> int:
    """Return for how many workers the cluster has room. Raises SessionError if for none."""
    resources = ray.cluster_resources()
    room = int(resources.get("CPU", 0) // cluster.cpus)
    if cluster.gpus:
        room = min(room, int(resources.get("GPU", 0) // cluster.gpus))
    if not room:
        has = f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
        raise SessionError(
            f"Ray at {cluster.address} has {has}, too few for a worker with {cluster.cpus} and {cluster.gpus:g}; "
            "ask for fewer, or give --workers to wait for more"
        )
    return room


def _reason(error: Exception) -> str:
    """Return what an error of Ray says; where it tells of a worker's, the last line of that."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return one_line(lines[-1].strip() if lines else type(error).__name__)
