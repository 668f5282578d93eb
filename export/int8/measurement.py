"""Amax and sensitivity of a model: as the first half of a search, or alone, without a search and without a bundle."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnx import ModelProto, TensorProto

from reid import __version__
from reid.calibration.graph_file import load_graph
from reid.calibration.journal import Journal, check_journal
from reid.calibration.layers import QuantizableLayers, find_layers
from reid.calibration.probe import Probe
from reid.calibration.scales import ScaleFile, measure_scales
from reid.calibration.sensitivity import Sensitivity, SensitivityMeter
from reid.export.graphs import check_onnx, errors_naming
from reid.export.int8.plan import CalibrationPlan, CalibrationRequest
from reid.runtime.bundle import CARD_FILE, Bundle, graph_file
from reid.runtime.errors import ModelError
from reid.runtime.files.reading import sha256_of
from reid.runtime.model_card import ModelCard
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.graph import parse_card

__all__ = ["calibrate", "measure", "measure_layers", "open_fp32_graph"]

logger = logging.getLogger(__name__)

_FRAMES_WITHOUT_LABELS = 16


def measure(
    model: Path, request: CalibrationRequest, *, sensitivity: bool = False, progress: Progress = SILENT
) -> tuple[ScaleFile, Sensitivity | None]:
    """Measure a model's amax, and the effect on the embeddings of INT8 in each layer alone.

    Args:
        model: the model; see open_fp32_graph.
        request: the data to measure on; an interrupted measurement resumes from `request.journal`.
        sensitivity: whether to measure the layers.
        progress: follows the measurements.

    Raises:
        DataError: there is nothing to measure on.
        ModelError: open_fp32_graph raises it, nothing in the graph can run in INT8, or a value is not finite.
        ReidError: the journal is another file, or is damaged.
    """
    check_journal(request.journal)
    with open_fp32_graph(model) as (graph, proto, card):
        layers = find_layers(proto)
        if not layers:
            raise ModelError(f"{card.backbone} has no convolution or matrix product that can run in INT8")
        plan = CalibrationPlan.of(request, card)
        journal = Journal(request.journal, _facts(graph, plan))
        if len(journal):
            logger.info(f"resuming an interrupted measurement after {len(journal)} results")
        scales = journal.remember("ranges", ScaleFile, lambda: calibrate(graph, layers, plan, progress))
        scales.check(graph, layers.inputs)
        return scales, measure_layers(proto, layers, scales, plan, journal, progress) if sensitivity else None


def calibrate(fp32: Path, layers: QuantizableLayers, plan: CalibrationPlan, progress: Progress = SILENT) -> ScaleFile:
    """Measure the amax of every tensor that may have to be quantized; see measure_scales."""
    frames = plan.choose_frames(plan.request.frames)
    facts = frames.facts
    if facts.count < facts.requested:
        logger.warning(
            f"calibrating on {facts.count} frames instead of {facts.requested}: the vehicles that are not set aside "
            "for measuring and judging have no more"
        )
    if frames.unreadable:
        logger.warning(f"{len(frames.unreadable)} frames could not be read and were left out: {frames.unreadable[0]}")
    return measure_scales(fp32, plan.card, frames, set(layers.inputs), progress=progress)


def measure_layers(
    model: ModelProto,
    layers: QuantizableLayers,
    scales: ScaleFile,
    plan: CalibrationPlan,
    journal: Journal,
    progress: Progress = SILENT,
) -> Sensitivity:
    """Measure the effect of INT8 on the embeddings, layer by layer; see SensitivityMeter."""
    # If no vehicle is known from two cameras, layers are measured on frames that they are calibrated on.
    images = plan.probe or plan.choose_frames(_FRAMES_WITHOUT_LABELS).images
    probe = Probe.of(model, plan.card.preprocessing, images)
    return SensitivityMeter(model, layers, scales.tensors, probe, journal).measure(plan.request.methods, progress)


@contextlib.contextmanager
def open_fp32_graph(model: Path) -> Iterator[tuple[Path, ModelProto, ModelCard]]:
    """Yield a model's FP32 graph: its file, its contents, and its card.

    Args:
        model: a bundle, an .onnx file of `reid-export`, or a checkpoint, which is exported to a temporary folder; only
            a checkpoint needs PyTorch.

    Raises:
        ModelError: there is no such graph, or it is damaged or in another precision.
    """
    with contextlib.ExitStack() as stack:
        if (model / CARD_FILE).is_file():
            graph = Bundle.open(model).graph("fp32").path
        elif model.suffix == ".onnx":
            graph = model
        else:
            graph = Path(stack.enter_context(tempfile.TemporaryDirectory())) / graph_file("fp32")
            stack.enter_context(errors_naming(model, instead_of=graph))
            _export(model, graph)
        proto = _load(graph)
        yield graph, proto, parse_card({entry.key: entry.value for entry in proto.metadata_props}, graph)


def _export(checkpoint: Path, graph: Path) -> None:
    from reid.export.graph import export_graph
    from reid.train.model.checkpoint import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    export_graph(loaded.model, loaded.card, graph)


def _load(graph: Path) -> ModelProto:
    proto = load_graph(graph)
    check_onnx(proto, str(graph), "export it again with `reid-export`")
    names = [node.name for node in proto.graph.node]
    if len(set(names)) < len(names):
        raise ModelError(f"{graph} has nodes of the same name; export it again with `reid-export`")
    has_pairs = any(node.op_type == "QuantizeLinear" for node in proto.graph.node)
    if has_pairs or any(tensor.data_type == TensorProto.FLOAT16 for tensor in proto.graph.initializer):
        raise ModelError(f"{graph} is in {'INT8' if has_pairs else 'FP16'}; calibration needs the FP32 graph")
    return proto


def _facts(graph: Path, plan: CalibrationPlan) -> dict[str, Any]:
    """Return everything that a measurement depends on."""
    request = plan.request
    images = (f"{image.id} {image.camera} {image.vehicle}\n" for image in request.data.train.images)
    return {
        "version": __version__,
        "graph": sha256_of(graph),
        "data": [str(request.data.root.resolve()), _digest("".join(images))],
        "frames": request.frames,
        "seed": plan.seed,
        "spared": sorted(plan.spared),
        "methods": request.methods,
        "evaluation data": request.allow_evaluation_data,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()  # names of files need not be UTF-8
