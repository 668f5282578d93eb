"""The INT8 graph: as many layers in INT8 as the tolerance on retrieval allows, everything else as in the FP16 graph."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto
from pydantic import BaseModel, ConfigDict

from reid import __version__
from reid.calibration.journal import Journal
from reid.calibration.layers import Layers, find_layers
from reid.calibration.probe import Probe, choose_probe
from reid.calibration.quantize import quantize
from reid.calibration.ranges import METHODS, Method
from reid.calibration.scales import ScaleFile, measure_scales
from reid.calibration.search import Evaluation, order_of_return, search
from reid.calibration.selection import CalibrationSet, select_frames
from reid.calibration.sensitivity import Sensitivity, measure_sensitivity
from reid.data.dataset import Dataset, Split
from reid.data.splitting import hold_out_vehicles
from reid.evaluation.verification.records import PrecisionVerification
from reid.export.verification.judge import Judge
from reid.export.watcher import SILENT, Watcher
from reid.runtime.errors import DataError, GateError, ModelError
from reid.runtime.model_card import ModelCard
from reid.runtime.tracklet import Tracklet

__all__ = [
    "INT8_FILE",
    "SCALES_FILE",
    "Int8Record",
    "Int8Request",
    "Material",
    "choose_material",
    "held_out_data",
    "measure_layers",
    "measure_ranges",
    "predicted_speedup",
    "write_int8_graph",
]

INT8_FILE = "int8.json"
SCALES_FILE = "scales.json"

INT8_SPEEDUP = 2.0
"""Multiply-accumulates per second of INT8 over FP16 on NVIDIA's tensor cores, Turing to Hopper."""

_FRAMES_WITHOUT_LABELS = 16
_HELD_OUT = 0.1


@dataclass(frozen=True, slots=True)
class Int8Request:
    """What the INT8 graph is made from.

    Attributes:
        data: gives the frames to calibrate on, and those to measure layers on, from its training split.
        frames: how many to calibrate on.
        seed: of their choice.
        methods: to choose ranges by.
        scales: measured before, to be used again; None to measure.
        journal: file that lets an interrupted search go on; None for none.
        allow_evaluation_data: take query and gallery images where there is no training split.
    """

    data: Dataset
    frames: int = 256
    seed: int = 0
    methods: tuple[Method, ...] = METHODS
    scales: ScaleFile | None = None
    journal: Path | None = None
    allow_evaluation_data: bool = False


class Int8Record(BaseModel):
    """How a bundle's INT8 graph came about.

    Attributes:
        format_version: of this record.
        judged_on: the data that decided.
        kept_in_fp16: the layers that INT8 is not good enough for, in the order of execution.
        int8_share: of all multiply-accumulates, in percent.
        predicted_speedup: over the FP16 graph, if multiply-accumulates are all that takes time: an upper bound.
        evaluations: every mix that was tried, in order; the last one that passed is the graph.
        sensitivity: of each layer, on which the order of the search rests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = 1
    judged_on: str
    kept_in_fp16: tuple[str, ...]
    int8_share: float
    predicted_speedup: float
    evaluations: tuple[Evaluation, ...]
    sensitivity: Sensitivity


def predicted_speedup(share: float) -> float:
    """Give the speed-up over FP16 with this share of the work, 0 to 1, in INT8, if nothing else takes time."""
    return 1 / (share / INT8_SPEEDUP + 1 - share)


def held_out_data(data: Dataset, card: ModelCard) -> Dataset | None:
    """Give vehicles of a training split as query and gallery: those that the model's own training held out.

    Of data that the model was not trained on it takes a tenth. None where there are not enough vehicles.
    """
    recipe = card.training.get("recipe", {})
    try:
        split = hold_out_vehicles(data.train, share=recipe.get("held_out", _HELD_OUT), seed=recipe.get("seed", 0))
    except DataError:
        return None
    return replace(
        data,
        layout=f"{data.layout}, held-out training vehicles",
        train=Split(),
        query=split.query,
        gallery=split.gallery,
    )


@dataclass(frozen=True, slots=True)
class Material:
    """What a graph is measured on.

    Attributes:
        request: what it is chosen from.
        seed: of the choice.
        spared: vehicles that are not calibrated on.
        probe: images to measure layers on; their vehicles are spared, too.
    """

    request: Int8Request
    seed: int
    spared: frozenset[str]
    probe: tuple[Tracklet, ...]

    def frames(self, count: int) -> CalibrationSet:
        """Choose frames to calibrate on. Raises DataError where there are none."""
        return select_frames(
            self.request.data,
            count,
            self.seed,
            exclude_vehicles=self.spared,
            allow_evaluation_data=self.request.allow_evaluation_data,
        )


def choose_material(card: ModelCard, request: Int8Request) -> Material:
    """Choose what to measure on from the training split.

    The vehicles that the model's own training held out are left to judge on, also where nobody does: so ranges measured
    by themselves and those measured for a search are of the same frames.

    Args:
        card: of the model.
        request: what to choose from.
    """
    # As of the ranges that are used again, whose frames the probe has to be apart from.
    seed = request.scales.calibration.seed if request.scales else request.seed
    held_out = held_out_data(request.data, card)
    spared = _vehicles(held_out.gallery.images if held_out else ())
    probe = choose_probe([image for image in request.data.train.images if image.vehicle not in spared], seed)
    return Material(request, seed, spared | _vehicles(probe), probe)


def measure_ranges(
    fp32: Path, card: ModelCard, layers: Layers, material: Material, watcher: Watcher = SILENT
) -> ScaleFile:
    """Measure the range of every tensor that may have to be quantized; see measure_scales."""
    frames = material.frames(material.request.frames)
    if frames.facts.count < frames.facts.requested:
        watcher.on_note(f"note: calibrating on all {frames.facts.count} frames that there are")
    return measure_scales(
        fp32,
        card,
        frames,
        set(layers.tensors),
        on_frames=lambda done, total: watcher.on_progress("calibrating", done, total),
    )


def measure_layers(
    model: ModelProto,
    card: ModelCard,
    layers: Layers,
    scales: ScaleFile,
    material: Material,
    journal: Journal,
    watcher: Watcher = SILENT,
) -> Sensitivity:
    """Measure what INT8 does to the embeddings, layer by layer; see measure_sensitivity."""
    # Where no vehicle is known from two cameras, layers are measured on frames that they are calibrated on.
    images = material.probe or material.frames(_FRAMES_WITHOUT_LABELS).images
    return measure_sensitivity(
        model,
        layers,
        scales.tensors,
        Probe.of(model, card.preprocessing, images),
        journal,
        methods=material.request.methods,
        on_measured=lambda done, total: watcher.on_progress("sensitivity", done, total),
    )


def _vehicles(images: Iterable[Tracklet]) -> frozenset[str]:
    return frozenset(str(image.vehicle) for image in images)


def write_int8_graph(
    fp32: Path,
    fp16: Path,
    output: Path,
    card: ModelCard,
    request: Int8Request,
    judge: Judge,
    watcher: Watcher = SILENT,
) -> tuple[Int8Record, ScaleFile]:
    """Find the mix of INT8 and FP16 that is fastest within tolerance, and write it.

    Args:
        fp32: the FP32 graph.
        fp16: the FP16 graph made from it, which gives all that is not in INT8.
        output: where the INT8 graph goes.
        card: of the model.
        request: what to make it from.
        judge: decides what is within tolerance.
        watcher: is told how it goes.

    Raises:
        DataError: nothing to calibrate on.
        GateError: not even all layers in FP16 are within tolerance.
        ModelError: nothing in the graph can run in INT8, or the scales are of another graph.
    """
    model, half = onnx.load(fp32), onnx.load(fp16)
    layers = find_layers(model)
    if not layers.layers:
        raise ModelError(f"{card.backbone} has no convolution or matrix product that can run in INT8; use --fp16")
    material = choose_material(card, request)
    scales = request.scales or measure_ranges(fp32, card, layers, material, watcher)
    scales.check(fp32)
    journal = Journal(request.journal, _facts(scales, material, judge))
    if len(journal):
        watcher.on_note(f"note: going on after {len(journal)} measurements of a search that was stopped")
    sensitivity = measure_layers(model, card, layers, scales, material, journal, watcher)
    record = _search(half, layers, sensitivity, judge, card, journal, watcher)
    onnx.save(_mix(half, layers, record.kept_in_fp16, sensitivity.thresholds), output)
    return record, scales


def _facts(scales: ScaleFile, material: Material, judge: Judge) -> dict[str, Any]:
    """Give what a measurement depends on."""
    return {
        "version": __version__,
        "scales": hashlib.sha256(scales.model_dump_json().encode()).hexdigest(),
        "methods": material.request.methods,
        "seed": material.seed,
        "probe": [image.id for image in material.probe],
        "judge": judge.title,
        "tolerance": judge.tolerance.model_dump(),
        "embeddings": judge.digest(),
    }


def _search(
    half: ModelProto,
    layers: Layers,
    sensitivity: Sensitivity,
    judge: Judge,
    card: ModelCard,
    journal: Journal,
    watcher: Watcher,
) -> Int8Record:
    def measure(kept: frozenset[str]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder) / "mix.onnx"
            onnx.save(_mix(half, layers, kept, sensitivity.thresholds), graph)
            verified = judge.compare("int8", graph, card.levels, partial(watcher.on_progress, "evaluating"))
        return _evaluation(kept, verified).model_dump()

    def evaluate(kept: frozenset[str]) -> Evaluation:
        evaluation = Evaluation(**journal.remember(f"mix with {' '.join(sorted(kept))}", partial(measure, kept)))
        watcher.on_note(_sentence(evaluation, 100 * layers.share([n for n in work if n not in kept])))
        return evaluation

    work = {layer.name: layer.macs / layers.macs for layer in layers.layers}
    order = order_of_return(layers.layers, sensitivity.errors, layers.macs)
    found = search(order, sensitivity.errors, work, evaluate)
    if found.kept is None:
        why = found.evaluations[-1].failures[0]
        raise GateError(f"not even with all layers in FP16 is the model within tolerance on {judge.title}: {why}")
    share = layers.share([name for name in work if name not in found.kept])
    return Int8Record(
        judged_on=judge.title,
        kept_in_fp16=tuple(name for name in work if name in found.kept),
        int8_share=100 * share,
        predicted_speedup=predicted_speedup(share),
        evaluations=found.evaluations,
        sensitivity=sensitivity,
    )


def _mix(half: ModelProto, layers: Layers, kept: Collection[str], thresholds: Mapping[str, float]) -> ModelProto:
    int8 = [layer.name for layer in layers.layers if layer.name not in kept]
    return quantize(half, layers, int8, thresholds)


def _evaluation(kept: frozenset[str], verified: PrecisionVerification) -> Evaluation:
    return Evaluation(
        kept=tuple(sorted(kept)),
        failures=verified.failures,
        changes={
            f"{comparison.protocol} {metric}": points
            for comparison in verified.protocols
            for metric, points in comparison.difference.items()
        },
        similarity=verified.similarity.levels[0].minimum,
    )


def _sentence(evaluation: Evaluation, share: float) -> str:
    kept = f"{len(evaluation.kept)} layers in FP16" if evaluation.kept else "all layers in INT8"
    verdict = "within tolerance" if evaluation.passed else "outside tolerance"
    change = min(evaluation.changes.items(), key=lambda entry: entry[1], default=None)
    worst = f", {change[0]} {change[1]:+.2f}" if change else ""
    return f"int8: {kept}, {share:.1f} % of the work in INT8{worst}, similarity {evaluation.similarity:.4f}: {verdict}"
