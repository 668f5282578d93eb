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
from collections.abc import Callable, Collection
from pathlib import Path

from reid.export.engines.steps import Build, EngineOptions
from reid.export.engines.watch import BuildWatch
from reid.runtime.engine_card import ENGINE_FORMAT_VERSION, EngineCard, Profile
from reid.runtime.gpu import find_device
from reid.runtime.model_card import ModelCard
from reid.runtime.precision import Precision
from reid.runtime.storage import atomic_write, sha256_of
from reid.runtime.tensorrt_api import Flavor, import_tensorrt

__all__ = ["EngineOptions", "Profile", "build_engine"]


def build_engine(
    graph: Path,
    output_folder: Path,
    card: ModelCard,
    precision: Precision,
    flavor: Flavor,
    options: EngineOptions,
    *,
    build_command: str,
    on_progress: Callable[[int, int], None],
    kept_in_fp32: Collection[str] = (),
) -> EngineCard:
    """Build an engine and write it and its sidecar; a failed build writes neither.

    Args:
        graph: that `reid-export` wrote.
        output_folder: gets <device>-<version>-<precision>.engine and .json; a bundle's `engines`.
        card: of the model.
        precision: of the graph: fp32, fp16 or int8.
        flavor: which package builds.
        options: how.
        build_command: command line that builds this engine again, with BUNDLE for the bundle's path.
        on_progress: gets (done, all), ascending; what it raises stops the build.
        kept_in_fp32: names of nodes that the graph keeps in FP32 on purpose.

    Raises:
        SessionError: the package is missing, there is no GPU where one is needed, or an option is not this flavor's.
        ModelError: the graph cannot be parsed or built; the message names the node or the builder's last error.
        GateError: convolutions of an FP16 or INT8 engine run in FP32, or in FP16 where the graph has them in INT8.
    """
    build = Build(import_tensorrt(flavor), flavor, options, find_device(), BuildWatch(on_progress))
    plan, layers = build.run(graph, card, precision, frozenset(kept_in_fp32))
    engine = output_folder / f"{_slug(build.target)}-{build.api.__version__}-{precision}.engine"
    sidecar = EngineCard(
        format_version=ENGINE_FORMAT_VERSION,
        flavor=flavor,
        version=build.api.__version__,
        cuda=build.device.cuda if build.device else None,
        device=build.target,
        compute_capabilities=build.capabilities,
        hardware_compatible=options.hardware_compatible,
        version_compatible=options.version_compatible,
        precision=precision,
        profiles=options.profiles,
        graph_sha256=sha256_of(graph),
        engine_sha256=hashlib.sha256(plan).hexdigest(),
        engine_bytes=len(plan),
        fingerprint=card.fingerprint,
        opset=card.opset,
        layers=layers,
        build_command=build_command,
    )
    output_folder.mkdir(parents=True, exist_ok=True)
    atomic_write(engine, plan)
    atomic_write(engine.with_suffix(".json"), sidecar.to_json().encode())
    build.watch.complete()
    return sidecar


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
