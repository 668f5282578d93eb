"""Timing engines, with a builder and an engine that are not there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import reid.export.int8.engine_time as engine_time
from reid.export.engines.options import EngineOptions
from reid.export.int8.engine_time import EngineTimer, check_timing
from reid.runtime.bundle import Bundle
from reid.runtime.engine_card import Profile
from reid.runtime.errors import SessionError

OPTIONS = EngineOptions("tensorrt", profiles=(Profile(frames=(1, 16, 32), tracklets=(1, 4, 32)),))


def test_without_a_gpu_it_is_one_line_that_says_what_to_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_time, "find_device", lambda: None)
    with pytest.raises(SessionError) as caught:
        check_timing(OPTIONS)
    assert str(caught.value) == (
        "no NVIDIA GPU with a driver was found here to time TensorRT's engines on; leave out --objective latency to "
        "minimize multiply-accumulates"
    )


def test_without_what_runs_engines_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_time, "find_device", lambda: SimpleNamespace(name="a GPU"))
    monkeypatch.setattr(engine_time, "import_tensorrt", lambda flavor: None)
    for name in ("pycuda", "cuda.bindings.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SessionError, match=r"^pycuda is not installed .*: pip install .*'reid\[gpu\]'.*; or leave out"):
        check_timing(OPTIONS)


class Engine:
    """An engine that takes 7 ms by its own clock, and 50 ms while it warms up."""

    def __init__(self, shapes: list[Any], clock: list[float]) -> None:
        self.shapes, self.clock = shapes, clock

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.shapes.append("closed")

    def compute(self, frames: np.ndarray, pooling: np.ndarray) -> None:  # type: ignore[type-arg]
        self.shapes.append((frames.shape, frames.dtype, pooling.shape))
        self.clock[0] += 0.05 if len(self.shapes) <= 10 else 0.007


def test_a_mix_is_written_built_and_timed_with_the_profiles_best_batch(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[frozenset[str]] = []
    shapes: list[Any] = []
    clock = [0.0]

    class Graph:
        def write(self, path: Path, in_fp16: frozenset[str]) -> None:
            written.append(in_fp16)
            path.write_bytes(b"a graph")

    def build(exported: Any, folder: Path, card: object, options: EngineOptions) -> str:  # noqa: ANN401
        assert (exported.graph.precision, options) == ("int8", OPTIONS)
        folder.mkdir()
        (folder / "gpu-int8.engine").write_bytes(b"an engine")
        return "sidecar"

    monkeypatch.setattr(engine_time, "build_engine", build)
    monkeypatch.setattr(engine_time, "load_engine", lambda path, sidecar, card: Engine(shapes, clock))
    monkeypatch.setattr(engine_time.time, "perf_counter", lambda: clock[0])
    timer = EngineTimer(Graph(), Bundle.open(bundle).card, OPTIONS)  # type: ignore[arg-type]
    assert timer(frozenset({"a"})) == pytest.approx(7)
    assert written == [{"a"}]
    assert set(shapes[:-1]) == {((16, 3, 64, 64), np.dtype(np.uint8), (4, 16))}
    assert shapes[-1] == "closed"
