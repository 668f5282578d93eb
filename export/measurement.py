"""Ranges and sensitivity of a model by themselves, without a search and without a bundle."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # comes with onnx
from onnx import ModelProto, TensorProto

from reid import __version__
from reid.calibration.journal import Journal
from reid.calibration.layers import find_layers
from reid.calibration.scales import ScaleFile
from reid.calibration.sensitivity import Sensitivity
from reid.export.int8 import Int8Request, Material, choose_material, measure_layers, measure_ranges
from reid.export.watcher import SILENT, Watcher
from reid.runtime.bundle import CARD_FILE, Bundle, graph_file
from reid.runtime.errors import ModelError
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.graph import parse_card
from reid.runtime.storage import sha256_of

__all__ = ["measure", "open_fp32_graph"]


@contextlib.contextmanager
def open_fp32_graph(model: Path) -> Iterator[tuple[Path, ModelProto, ModelCard]]:
    """Give a model's FP32 graph: its file, what is in it, and the card.

    Args:
        model: a bundle, an .onnx file of `reid-export`, or a checkpoint, which is exported to a temporary folder and
            alone needs PyTorch.

    Raises:
        ModelError: there is none, or it is damaged or in another precision.
    """
    with contextlib.ExitStack() as stack:
        if (model / CARD_FILE).is_file():
            graph = Bundle.open(model).graph("fp32").path
        elif model.suffix == ".onnx":
            graph = model
        else:
            graph = Path(stack.enter_context(tempfile.TemporaryDirectory())) / graph_file("fp32")
            stack.enter_context(_named(graph, model))
            _export(model, graph)
        proto = _load(graph)
        yield graph, proto, parse_card({entry.key: entry.value for entry in proto.metadata_props}, graph)


def _export(checkpoint: Path, graph: Path) -> None:
    from reid.export.graph import export_graph
    from reid.train.model.checkpoint import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    export_graph(loaded.model, loaded.card, graph)


@contextlib.contextmanager
def _named(graph: Path, model: Path) -> Iterator[None]:
    """Have errors name the model, and not a graph that is gone when they are read."""
    try:
        yield
    except ModelError as error:
        raise ModelError(str(error).replace(str(graph), str(model))) from error


def _load(graph: Path) -> ModelProto:
    try:
        proto = onnx.load(graph)
    except DecodeError:
        raise ModelError(f"{graph} is no ONNX graph, or damaged; export it again with `reid-export`") from None
    has_pairs = any(node.op_type == "QuantizeLinear" for node in proto.graph.node)
    if has_pairs or any(tensor.data_type == TensorProto.FLOAT16 for tensor in proto.graph.initializer):
        raise ModelError(f"{graph} is in {'INT8' if has_pairs else 'FP16'}; ranges are measured on the FP32 graph")
    return proto


def measure(
    model: Path, request: Int8Request, *, sensitivity: bool = False, watcher: Watcher = SILENT
) -> tuple[ScaleFile, Sensitivity | None]:
    """Measure a model's ranges, and what INT8 in each layer alone does to the embeddings.

    Args:
        model: see open_fp32_graph.
        request: what to measure on; `request.journal` lets a measurement that was stopped go on.
        sensitivity: whether to measure the layers.
        watcher: is told how it goes.

    Raises:
        DataError: nothing to measure on.
        ModelError: see open_fp32_graph; or nothing in the graph can run in INT8, or a value is not finite.
    """
    with open_fp32_graph(model) as (graph, proto, card):
        layers = find_layers(proto)
        if not layers.layers:
            raise ModelError(f"{card.backbone} has no convolution or matrix product that can run in INT8")
        material = choose_material(card, request)
        journal = Journal(request.journal, _facts(graph, material))
        if len(journal):
            watcher.on_note(f"note: going on after {len(journal)} measurements that were stopped")
        ranges = journal.remember(
            "ranges", lambda: measure_ranges(graph, card, layers, material, watcher).model_dump(mode="json")
        )
        scales = ScaleFile.model_validate(ranges)
        if not sensitivity:
            return scales, None
        return scales, measure_layers(proto, card, layers, scales, material, journal, watcher)


def _facts(graph: Path, material: Material) -> dict[str, Any]:
    """Give what a measurement depends on."""
    request = material.request
    images = (f"{image.id} {image.camera} {image.vehicle}\n" for image in request.data.train.images)
    return {
        "version": __version__,
        "graph": sha256_of(graph),
        "data": [str(request.data.root.resolve()), hashlib.sha256("".join(images).encode()).hexdigest()],
        "frames": request.frames,
        "seed": material.seed,
        "spared": sorted(material.spared),
        "methods": request.methods,
        "evaluation data": request.allow_evaluation_data,
    }
