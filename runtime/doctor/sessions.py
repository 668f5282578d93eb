"""Which sessions are tried, with which model; and the check of one, in a process of its own."""

from __future__ import annotations

import logging
import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, cast

from reid.runtime.doctor.check import Check, Doing
from reid.runtime.doctor.devices import no_gpu
from reid.runtime.doctor.extras import is_there
from reid.runtime.errors import ReidError
from reid.runtime.gpu import find_device
from reid.runtime.installs import PACKAGES, SEE_DOCTOR, how_to_install, how_to_reinstall, how_to_update
from reid.runtime.precision import Precision
from reid.runtime.sessions.session import BACKEND_TITLES, SessionInfo
from reid.runtime.tensorrt_api import TensorRTRTX, import_tensorrt
from reid.runtime.versions import installed_version, is_older, least_version

if TYPE_CHECKING:
    from reid.runtime.sessions.opened import Opened

__all__ = ["check_session", "reinstall", "session_names"]

_DEVICES = {"onnxruntime": ("onnxruntime:cpu", "onnxruntime:cuda")}
"""The sessions that a backend is tried as, where one is not enough."""

_SERVERS = {"triton"}
"""Backends that are no part of this machine: one has to say where they are."""


def session_names() -> tuple[str, ...]:
    """Return all sessions that this machine may run, those of other packages included."""
    backends = sorted({point.name for point in entry_points(group="reid.sessions")} - _SERVERS)
    return tuple(name for backend in backends for name in _DEVICES.get(backend, (backend,)))


def check_session(name: str, doing: Doing, session: str, model: str = "", *precisions: str) -> Check:
    """Open a session, and check it against what is known of the model.

    Args:
        name: the name of the check.
        doing: is told each step.
        session: the session, as `--session` names it.
        model: the model; empty for the one that is made for the purpose.
        precisions: the precisions to try; none for all that the model was made in.
    """
    doing("looking for its library")
    with tempfile.TemporaryDirectory(prefix="reid-doctor-") as folder, _Notes() as notes:
        try:
            if absent := _absent(name, session, doing):
                return absent
            path, tried = (Path(model), precisions) if model else _trial(session, Path(folder), doing)
            memory = Path(folder) / "self-checks"
            found = [_try(session, path, cast(Precision, one), memory, doing) for one in tried]
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0].replace("_", "-")
            remedy = how_to_install(package).command if package in PACKAGES else None
            return Check(name, "missing", f"it needs {package}, which is not installed", remedy)
        except ReidError as error:
            # The tiny model is right; the user's may itself be wrong, and then the error says what to do.
            reason = str(error).removesuffix(SEE_DOCTOR).replace(f"{folder}/", "")
            return Check(name, "broken", reason, None if model else reinstall(session))
    precisions = tuple(info.precision for info in found)
    return Check(name, "works", "; ".join([f"{found[0]}: {', '.join(precisions)}", *notes.said]))


def _absent(name: str, session: str, doing: Doing) -> Check | None:
    """Return why there is no point in opening a session, as far as that is known without its library."""
    backend, device = _parts(session)
    gpu = None
    if backend.startswith("tensorrt") or device.startswith("cuda"):
        ordinal = int(digits) if (digits := device.rpartition(":")[2]).isdecimal() else 0
        gpu = find_device(ordinal)
        if gpu is None:
            return no_gpu(name, ordinal)
    if backend not in BACKEND_TITLES:
        return None
    if not is_there(backend):
        return Check(name, "missing", f"{backend} is not installed", how_to_install(backend).command)
    found, least = installed_version(backend), least_version(backend)
    if found and least and is_older(found, least):
        return Check(name, "broken", f"{backend} {found} is older than {least}", how_to_update(backend, found).command)
    if backend == "tensorrt-rtx":
        return _unknown_gpu(name, gpu.compute_capability if gpu else "", doing)
    return _without_cuda(name, doing) if device.startswith("cuda") and backend == "onnxruntime" else None


def _unknown_gpu(name: str, compute_capability: str, doing: Doing) -> Check | None:
    """Return that TensorRT-RTX does not know a GPU, as it knows none of datacenters; None where it does."""
    doing("importing tensorrt_rtx")
    api = import_tensorrt("tensorrt-rtx")
    known = cast(TensorRTRTX, api).ComputeCapability.__members__
    if f"SM{compute_capability.replace('.', '')}" in known:
        return None
    reason = f"TensorRT-RTX {api.__version__} does not run on compute capability {compute_capability}; use tensorrt"
    return Check(name, "not for this machine", reason)


def _without_cuda(name: str, doing: Doing) -> Check | None:
    """Return what ONNX Runtime lacks for CUDA; None for nothing."""
    from reid.runtime.sessions.onnxruntime_providers import has_cuda, missing_library

    doing("loading CUDA's libraries")
    install = how_to_install("onnxruntime-gpu").command
    if not has_cuda():
        if platform.machine() not in ("x86_64", "AMD64"):
            return Check(name, "not for this machine", "ONNX Runtime for GPUs is for x86-64; use tensorrt")
        return Check(name, "missing", "this ONNX Runtime is for CPUs alone", install)
    missing = missing_library()
    return Check(name, "missing", f"{missing} does not load", install) if missing else None


def _parts(session: str) -> tuple[str, str]:
    """Return the backend and the device in a session's name."""
    backend, _, device = session.partition("+")[0].partition(":")
    return backend, device


def _trial(session: str, folder: Path, doing: Doing) -> tuple[Path, Sequence[str]]:
    """Return a model that the session opens, and its precisions."""
    from reid.runtime.doctor.trial import make_trial

    doing("making a tiny model")
    return make_trial(_parts(session)[0], folder)


def _try(session: str, model: Path, precision: Precision, memory: Path, doing: Doing) -> SessionInfo:
    """Open a model and check it; return the facts about its session. Raises ReidError where it does not."""
    from reid.runtime.doctor.trial import check_opened
    from reid.runtime.opening import open_unchecked

    doing(f"opening {precision}")
    opened: Opened = open_unchecked(model, session, precision)
    with opened.session:
        doing(f"embedding in {precision}")
        try:
            check_opened(opened, memory)
        except ReidError as error:
            raise type(error)(f"{precision}: {error}") from None
        return opened.session.info


def reinstall(session: str) -> str | None:
    """Return the command that installs a session's library again.

    None for a session of another package, and for one whose device was given, which may be what is wrong.
    """
    backend, device = _parts(session)
    is_ours = backend in BACKEND_TITLES and (not device or session in session_names())
    return how_to_reinstall(backend).command if is_ours else None


class _Notes(logging.Handler):
    """Keeps what the library warns of while the session is tried."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() not in self.said:
            self.said.append(record.getMessage())

    def __enter__(self) -> _Notes:
        logging.getLogger("reid").addHandler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        logging.getLogger("reid").removeHandler(self)
