"""Another package with a session, which works or fails in the way that its device names; see `install_frail`.

It is found as any package's session is: by an entry point of what is installed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

__all__ = ["hang", "install_frail", "open_frail"]

_METADATA = "Metadata-Version: 2.1\nName: frail\nVersion: 1.0\n"


def install_frail(folder: Path) -> Path:
    """Install it in a folder, which belongs on PYTHONPATH."""
    information = folder / "frail-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(_METADATA)
    (information / "entry_points.txt").write_text("[reid.sessions]\nfrail = frail_library:open_frail\n")
    (folder / "frail_library.py").write_text(Path(__file__).read_text())
    return folder


def hang(name: str, doing: Callable[[str], object], child: str) -> None:
    """Be a check that never ends, and that has started another process, whose id it writes to a file."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(child).write_text(str(process.pid))
    doing("hanging")
    time.sleep(600)


def open_frail(model: Path, device: str | None, precision: Any) -> Any:  # noqa: ANN401
    """Open a model with ONNX Runtime, or fail."""
    print("some library talks on standard output")
    ways: dict[str | None, Callable[[], object]] = {
        "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "exit": lambda: os._exit(7),
        "raise": _raise,
        "refuse": _refuse,
        "need": _need,
    }
    ways.get(device, lambda: None)()
    from reid.runtime.sessions.onnxruntime import open_onnxruntime

    opened = open_onnxruntime(model, "cpu", precision)
    return replace(opened, session=_Swapping(opened.session)) if device == "wrong" else opened


class _Swapping:
    """Takes red for blue."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401
        self._session = session

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._session, name)

    def compute(self, frames: Any, pooling: Any) -> Any:  # noqa: ANN401
        return self._session.compute(frames[:, ::-1].copy(), pooling)

    def __enter__(self) -> _Swapping:
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()


def _raise() -> None:
    raise KeyError("a table of ours")


def _refuse() -> None:
    from reid.runtime.errors import SessionError

    raise SessionError("FrailExecutionProvider did not start; `reid-doctor` says what works on this machine")


def _need() -> None:
    raise ModuleNotFoundError("No module named 'timm.layers'", name="timm.layers")
