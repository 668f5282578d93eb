"""Subjects for tests of a whole run: each embeds as `expected_of` says, or has a fault of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCRIPT = Path(__file__).resolve()


class SessionError(Exception):
    """What a session raises that cannot run here."""


class PartySubject:
    """Takes `batch_s` for a batch; at its `after`-th batch, it does what `fault` says."""

    facts: Mapping[str, str] = {"backend": "Party 1.0", "device": "CPU", "precision": "fp32"}
    most_frames = 4

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._batch_s, self._fault = request.get("batch_s", 0.0005), request.get("fault", "")
        self._left = int(request.get("after", 1 << 30))
        self.commands: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
            "check": lambda request: {},
            "end_to_end": self._end_to_end,
            "rank": lambda request: {"ms_per_query": 0.5},
            "notes": lambda request: {"notes": ["every batch is copied twice"]},
        }

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._left -= 1
        if self._left == 0:
            self._fail()
        time.sleep(self._batch_s)
        found = expected_of(frames)
        return found[:, ::-1] if self._fault == "wrong" else found

    def close(self) -> None:
        pass

    def _fail(self) -> None:
        if self._fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("CUDA error: the GPU has fallen off the bus")

    def _end_to_end(self, request: Mapping[str, Any]) -> dict[str, Any]:
        names = sorted(os.listdir(request["folder"]))
        assert names[0].endswith(".jpg")
        rounds = [(90.0, 100.0), (95.0, 100.0), (92.0, 100.0)]
        return {
            "rounds": rounds,
            "limited_by": "model",
            "stage_ms_per_frame": {"decode": 0.1, "engine": 1.5},
            "cpu_ms_per_frame": [3.5, 3.0],
        }


def expected_of(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return embeddings of length 1, float32 [n, 4], of frames, uint8 [n, 3, H, W]."""
    found = frames.reshape(len(frames), -1)[:, :4].astype(np.float32) + 1
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def open_party(request: Mapping[str, Any]) -> PartySubject:
    if request.get("fault") == "absent":
        raise SessionError("no such device here: use another")
    if request.get("fault") == "damaged":
        raise ValueError("the engine is damaged")
    subject = PartySubject(request)
    if request.get("fault") == "mute":
        subject.facts = {"backend": "Party 1.0"}
    return subject
