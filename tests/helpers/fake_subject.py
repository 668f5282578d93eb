"""A subject for tests of `reid.bench`: its embedding is the first pixels; what it can be asked for ends badly."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPENER = f"{Path(__file__).resolve()}:open_fake"


class FakeSubject:
    """Takes `batch_s` for a batch, and prints to stdout, as libraries do."""

    facts: Mapping[str, str] = {"backend": "Fake 1.0", "device": "CPU", "precision": "fp32"}
    most_frames = 4

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._batch_s = request.get("batch_s", 0.0)
        self._closed = request.get("closed")
        self.sizes: list[int] = []
        self.commands: Mapping[str, Callable[[dict[str, Any]], Any]] = {
            "child": lambda _: {"pid": subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE).pid},
            "directory": lambda _: {"path": os.getcwd()},
            "environment": lambda _: dict(os.environ),
            "exit": lambda request: os._exit(request["code"]),
            "fail": lambda _: 1 / 0,
            "modules": lambda _: {"names": sorted(sys.modules)},
            "quit": lambda _: sys.exit("the library gave up"),
            "sleep": lambda request: time.sleep(request["seconds"]),
            "write": lambda request: os.write(2, request["text"].encode()),
        }

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        print("a progress bar")
        self.sizes.append(len(frames))
        time.sleep(self._batch_s)
        return frames.reshape(len(frames), -1)[:, :3].astype(np.float32)

    def close(self) -> None:
        if self._closed:
            Path(self._closed).touch()


def open_fake(request: Mapping[str, Any]) -> FakeSubject:
    if request["model"] == "broken":
        raise RuntimeError("the model\nis broken")
    return FakeSubject(request)
