"""How long the engine of a mix takes on this machine's GPU: what `--objective latency` minimizes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid.evaluation.verification.records import LayerInFp32
from reid.export.engines.build import build_engine
from reid.export.engines.options import EngineOptions
from reid.export.graphs import ExportedGraph
from reid.export.int8.graph import Int8Graph
from reid.runtime.bundle import Graph, graph_file
from reid.runtime.cuda_driver.find import find_package
from reid.runtime.errors import SessionError
from reid.runtime.gpu import find_device
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.session import BACKEND_TITLES, Session
from reid.runtime.sessions.tensorrt import load_engine
from reid.runtime.tensorrt_api import import_tensorrt

__all__ = ["EngineTimer", "check_timing"]

_WARM_UP = 20
_RUNS = 100


def check_timing(options: EngineOptions) -> None:
    """Raise SessionError, before any work, where engines can be neither built nor run."""
    remedy = "leave out --objective latency to minimize multiply-accumulates"
    if find_device() is None:
        title = BACKEND_TITLES[options.flavor]
        raise SessionError(f"no NVIDIA GPU with a driver was found here to time {title}'s engines on; {remedy}")
    import_tensorrt(options.flavor)
    try:
        find_package()
    except SessionError as error:
        raise SessionError(f"{error}; or {remedy}") from None


@dataclass(frozen=True, slots=True, eq=False)
class EngineTimer:
    """Builds the engine of a mix, and times it.

    Attributes:
        graph: the INT8 graph, whose layers are chosen from.
        card: the model's card.
        options: the options to build with; the first profile's best batch is timed.
        in_fp32: the layers that the graph keeps in FP32.
    """

    graph: Int8Graph
    card: ModelCard
    options: EngineOptions
    in_fp32: Sequence[LayerInFp32] = ()

    def __call__(self, in_fp16: frozenset[str]) -> float:
        """Return the median time of a batch in milliseconds, with these layers in FP16."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / graph_file("int8")
            self.graph.write(path, in_fp16)
            engines = Path(folder) / "engines"
            exported = ExportedGraph(Graph.of("int8", path), tuple(self.in_fp32))
            sidecar = build_engine(exported, engines, self.card, self.options)
            (engine,) = engines.glob("*.engine")
            with load_engine(engine, sidecar, self.card) as session:
                return self._time(session)

    def _time(self, session: Session) -> float:
        profile = self.options.profiles[0]
        size = self.card.preprocessing
        frames = np.random.default_rng(0).integers(256, size=(profile.frames[1], 3, size.height, size.width))
        pooling = np.ones((profile.tracklets[1], profile.frames[1]), np.float32)
        batch = frames.astype(np.uint8)
        milliseconds = []
        for _ in range(_WARM_UP + _RUNS):
            start = time.perf_counter()
            session.compute(batch, pooling)
            milliseconds.append(1000 * (time.perf_counter() - start))
        return statistics.median(milliseconds[_WARM_UP:])
