"""The engine of a tiny bundle, with which `reid-doctor` tries TensorRT."""

from __future__ import annotations

from pathlib import Path

from reid.export.engines.build import build_engine
from reid.export.engines.options import EngineOptions
from reid.export.graphs import ExportedGraph
from reid.runtime.bundle import ENGINES_FOLDER, Bundle
from reid.runtime.engine_card import Profile
from reid.runtime.gpu import find_device
from reid.runtime.tensorrt_api import Flavor

__all__ = ["add_tensorrt_engine", "add_tensorrt_rtx_engine"]

_PROFILE = Profile(frames=(1, 8, 8), tracklets=(1, 8, 8))


def add_tensorrt_engine(bundle: Path) -> Path:
    """Build the engine of a bundle's FP32 graph for this machine's GPU, and return the bundle.

    Raises:
        SessionError: TensorRT does not build for this GPU, or not here.
        ModelError: it does not take the graph.
    """
    return _add("tensorrt", bundle)


def add_tensorrt_rtx_engine(bundle: Path) -> Path:
    """Build TensorRT-RTX's engine; otherwise as add_tensorrt_engine."""
    return _add("tensorrt-rtx", bundle)


def _add(flavor: Flavor, root: Path) -> Path:
    bundle, gpu = Bundle.open(root), find_device()
    targets = (gpu.compute_capability,) if gpu and flavor == "tensorrt-rtx" else ()
    options = EngineOptions(flavor, profiles=(_PROFILE,), optimization_level=0, compute_capabilities=targets)
    build_engine(ExportedGraph(bundle.graph("fp32")), root / ENGINES_FOLDER, bundle.card, options)
    return root
