"""`trtexec` as a subject: each turn is a run of the program, which takes seconds to load the engine."""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.bench.models import read_model
from reid.bench.peers.graph import graph_of, inputs_of
from reid.bench.peers.trtexec import (
    batch_times_ms,
    build_arguments,
    embedding_arguments,
    embeddings_in,
    run_arguments,
    tensorrt_version,
    timing_arguments,
)
from reid.runtime.errors import SessionError
from reid.runtime.gpu import find_device

__all__ = ["TrtexecPeer", "open_subject"]


def open_subject(request: Mapping[str, Any]) -> TrtexecPeer:
    """Build a graph's engine.

    Raises:
        SessionError: it cannot be built.
    """
    card = read_model(Path(request["model"])).card
    size = (card.preprocessing.height, card.preprocessing.width)
    return TrtexecPeer(request["program"], graph_of(request), size, request["precision"], request["most_frames"])


class TrtexecPeer:
    """An engine that `trtexec` has built, as `reid.bench.host` times it, but for the turns: `trtexec` takes these."""

    def __init__(
        self, program: str, graph: Path, image_size: tuple[int, int], precision: str, most_frames: int
    ) -> None:
        self.most_frames = most_frames
        self._program = program
        self._image_size = image_size
        # Within the process's own folder, which is removed even if the process is killed.
        self._temporary = tempfile.TemporaryDirectory(prefix="trtexec-", dir=Path.cwd())
        self._folder = Path(self._temporary.name)
        self._engine = self._folder / "model.engine"
        help_text = self._run(["--help"])
        printed = self._run(build_arguments(graph, self._engine, image_size, self.most_frames, help_text))
        device = find_device()
        self.facts: Mapping[str, str] = {
            "backend": f"trtexec (TensorRT {tensorrt_version(printed)})",
            "device": device.name if device else "GPU",
            "precision": precision,
        }
        self.commands: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "turn": self.take_turn,
            "warm_up": self.warm_up,
        }

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a batch, uint8 [N, 3, H, W] -> float32 [N, D], in a run of the program; this is not to be timed."""
        files = {name: self._folder / f"{name}.bin" for name in inputs_of(frames)}
        for name, array in inputs_of(frames).items():
            array.tofile(files[name])
        output = self._folder / "output.json"
        self._run_engine(len(frames), embedding_arguments(files, output))
        return embeddings_in(json.loads(output.read_text()))

    def warm_up(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do nothing: `trtexec` warms up in every run, which its times are without."""
        return {"batches": 0, "seconds": 0.0, "stable": True}

    def take_turn(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Time batches; the CPU time is that of the whole run, with the loading of the engine."""
        times = self._folder / "times.json"
        started, before = time.monotonic(), _cpu_s()
        self._run_engine(request["frames"], timing_arguments(request["seconds"], times))
        wall_ms = batch_times_ms(json.loads(times.read_text()))
        return {
            "wall_ms": wall_ms,
            "cpu_s": _cpu_s() - before,
            "untimed": 0,
            "started": started,
            "ended": time.monotonic(),
        }

    def close(self) -> None:
        """Remove the engine."""
        self._temporary.cleanup()

    def _run_engine(self, frames: int, arguments: list[str]) -> str:
        return self._run([*run_arguments(self._engine, self._image_size, frames), *arguments])

    def _run(self, arguments: list[str]) -> str:
        """Run the program, and return what it prints."""
        done = subprocess.run([self._program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            errors = [line for line in done.stdout.splitlines() if "[E]" in line]
            raise SessionError(f"trtexec failed: {(errors or [f'exit code {done.returncode}'])[0].strip()}")
        return done.stdout


def _cpu_s() -> float:
    """Return the CPU time of all processes that were started and have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
