"""Building engines: one builder for TensorRT 10 and 11 and for TensorRT-RTX.

Precision comes from the graph alone: the network is strongly typed, and TF32 is off, so that an FP32 engine is what
was verified. TensorRT builds for the GPU that it runs on. TensorRT-RTX builds without one, for every compute capability
that it is told.

DLA, the accelerator beside a Jetson's GPU, is left out: it takes neither the uint8 input nor dynamic sizes, TensorRT 11
has dropped it, and a graph half on the DLA would not be the one that was verified.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from reid.export.engines.options import EngineOptions
from reid.export.engines.steps import Build
from reid.export.engines.watch import BuildWatch
from reid.export.graphs import ExportedGraph
from reid.runtime.engine_card import ENGINE_FORMAT_VERSION, EngineCard
from reid.runtime.engine_fit import platform_here
from reid.runtime.engine_judgment import EngineJudgment
from reid.runtime.errors import ModelError
from reid.runtime.files.storage import amended_directory, clear_abandoned
from reid.runtime.gpu import find_device
from reid.runtime.model_card import ModelCard
from reid.runtime.progress import SILENT, Progress
from reid.runtime.tensorrt_api import import_tensorrt

__all__ = ["Judge", "build_engine", "not_judged"]

Judge: TypeAlias = Callable[[Path, EngineCard], EngineJudgment]
"""(an engine's file, its sidecar) -> what is known of its answers on data."""


def not_judged(engine: Path, sidecar: EngineCard) -> EngineJudgment:
    """Judge nothing."""
    return EngineJudgment()


def build_engine(
    exported: ExportedGraph,
    folder: Path,
    card: ModelCard,
    options: EngineOptions,
    progress: Progress = SILENT,
    judge: Judge = not_judged,
) -> EngineCard:
    """Build an engine and write it and its sidecar; a build that fails, or is refused, writes neither.

    Args:
        exported: the graph, written by `reid-export`.
        folder: the folder for <device>-<version>-<precision>.engine and .json; a bundle's `engines`.
        card: the card of the model.
        options: the options to build with.
        progress: the progress to advance; what it raises stops the build.
        judge: judges the engine before it is in the folder; what it raises keeps it out.

    Raises:
        SessionError: the package is missing, there is no GPU where one is needed, or an option is not this flavor's.
        ModelError: the graph cannot be parsed or built; the message names the node or the builder's last error. Or the
            folder is a link to elsewhere.
        GateError: convolutions of an FP16 or INT8 engine run in FP32, or in FP16 where the graph has them in INT8; or
            the judge refuses it.
    """
    if folder.is_symlink():
        raise ModelError(f"{folder} is a link, and engines stay in their bundle; remove it")
    clear_abandoned(folder)  # so that former engines are back even if there will be no new one
    graph = exported.graph
    watch = BuildWatch(progress, f"building {graph.precision} engine")
    build = Build(import_tensorrt(options.flavor), options, find_device(), watch)
    plan, layers = build.run(exported, card)
    name = f"{_slug(build.target)}-{build.api.__version__}-{graph.precision}"
    sidecar = EngineCard(
        format_version=ENGINE_FORMAT_VERSION,
        flavor=options.flavor,
        version=build.api.__version__,
        cuda=build.device.cuda if build.device else None,
        device=build.target,
        compute_capabilities=build.capabilities,
        hardware_compatible=options.hardware_compatible,
        version_compatible=options.version_compatible,
        precision=graph.precision,
        profiles=options.profiles,
        graph_sha256=graph.sha256,
        engine_sha256=hashlib.sha256(plan).hexdigest(),
        engine_bytes=len(plan),
        fingerprint=card.fingerprint,
        opset=card.opset,
        layers=layers,
        build_command=options.command(graph.precision),
        platform=platform_here(),
    )
    with amended_directory(folder, last="*.json") as amended:  # an engine counts by its sidecar
        engine = amended / f"{name}.engine"
        for file in (engine, engine.with_suffix(".json")):
            file.unlink(missing_ok=True)
        engine.write_bytes(plan)
        watch.complete()
        sidecar = sidecar.model_copy(update={"judged": judge(engine, sidecar)})
        engine.with_suffix(".json").write_bytes(sidecar.to_json().encode())
    return sidecar


def _slug(name: str) -> str:
    """Return a part of a file's name, whatever the driver calls its GPU."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:64].strip("-") or "gpu"
