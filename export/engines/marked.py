"""Building an engine again, in the same way, with tensors of layers among its outputs: to be looked into, not kept."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from reid.export.engines.drift import Run
from reid.export.engines.options import TIMING_CACHE_AT_MOST, EngineOptions
from reid.export.engines.steps import Build
from reid.export.engines.watch import BuildWatch
from reid.export.graphs import ExportedGraph
from reid.runtime.bundle import Graph
from reid.runtime.cuda import open_cuda
from reid.runtime.engine_card import EngineCard
from reid.runtime.errors import SessionError
from reid.runtime.files.reading import read_file
from reid.runtime.gpu import find_device
from reid.runtime.model_card import ModelCard
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.engine.run import EngineRun
from reid.runtime.tensorrt_api import import_tensorrt

__all__ = ["MarkedBuilder", "options_of"]


@dataclass(frozen=True, slots=True)
class MarkedBuilder:
    """Builds an engine again, in the same way, with tensors of layers among its outputs, and loads it.

    Attributes:
        sidecar: the engine's card.
        card: the model's card.
        graph: the graph that the engine was built from.
        folder: a temporary folder, for what builds share.
        ordinal: the number of the GPU to build for and run on.
        progress: the progress to advance.
    """

    sidecar: EngineCard
    card: ModelCard
    graph: Path
    folder: Path
    ordinal: int = 0
    progress: Progress = SILENT

    @contextmanager
    def __call__(self, tensors: Collection[str]) -> Iterator[Run]:
        """Build the engine with tensors among its outputs, and yield what runs it.

        Raises:
            SessionError: TensorRT, its version, or a GPU is missing here.
            ModelError: the engine cannot be built.
        """
        cuda = open_cuda(self.ordinal)
        with cuda.current():  # TensorRT builds for the GPU that is current
            plan = self.build(tensors)
        api, host_code = import_tensorrt(self.sidecar.flavor), self.sidecar.version_compatible
        with EngineRun(api, plan, cuda, host_code=host_code) as engine:
            yield engine

    def build(self, tensors: Collection[str]) -> bytes:
        """Return the serialized engine; see __call__."""
        sidecar, api = self.sidecar, import_tensorrt(self.sidecar.flavor)
        if api.__version__ != sidecar.version:
            raise SessionError(
                f"{sidecar.flavor} {sidecar.version} built it, and this is {api.__version__}, which may fuse otherwise"
            )
        watch = BuildWatch(self.progress, f"building {sidecar.precision} engine that gives {len(tensors)} tensors more")
        build = Build(api, options_of(sidecar, self.folder / "timing.cache"), find_device(self.ordinal), watch)
        graph = Graph(sidecar.precision, self.graph, sidecar.graph_sha256)
        plan, _ = build.run(ExportedGraph(graph), self.card, tensors)
        watch.complete()
        return plan


def options_of(sidecar: EngineCard, timing_cache: Path) -> EngineOptions:
    """Return the options that an engine was built with, but for a timing cache of its own.

    Args:
        sidecar: the engine's card.
        timing_cache: the file for it; it begins as a copy of the engine's, so that the same kernels are chosen.
    """
    said, usual = dict(pairwise(shlex.split(sidecar.build_command))), EngineOptions(sidecar.flavor)
    is_rtx = sidecar.flavor == "tensorrt-rtx"
    if not is_rtx and not timing_cache.exists() and (former := said.get("--timing-cache")) and os.path.lexists(former):
        timing_cache.write_bytes(read_file(Path(former), at_most=TIMING_CACHE_AT_MOST))
    return EngineOptions(
        sidecar.flavor,
        profiles=sidecar.profiles,
        workspace_mib=int(said.get("--workspace", usual.workspace_mib)),
        optimization_level=int(said.get("--optimization-level", usual.optimization_level)),
        timing_cache=None if is_rtx else timing_cache,
        hardware_compatible=sidecar.hardware_compatible,
        version_compatible=sidecar.version_compatible,
        compute_capabilities=sidecar.compute_capabilities if is_rtx else (),
    )
