"""The INT8 graph of a model that is calibrated: amax and sensitivity are measured, then its layers are searched for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reid import __version__
from reid.calibration.graph_file import load_graph
from reid.calibration.journal import Journal, check_journal
from reid.calibration.layers import find_layers
from reid.calibration.scales import ScaleFile
from reid.evaluation.verification.records import LayerInFp32
from reid.evaluation.verification.reference import Reference
from reid.export.int8.engine_time import EngineTimer
from reid.export.int8.graph import Int8Graph
from reid.export.int8.measurement import calibrate, measure_layers
from reid.export.int8.plan import CalibrationPlan
from reid.export.int8.record import Int8Record
from reid.export.int8.search import Int8Search
from reid.runtime.errors import ModelError
from reid.runtime.progress import SILENT, Progress

__all__ = ["write_int8_graph"]

logger = logging.getLogger(__name__)


def write_int8_graph(
    fp32: Path,
    fp16: Path,
    output: Path,
    plan: CalibrationPlan,
    reference: Reference,
    progress: Progress = SILENT,
    *,
    in_fp32: Sequence[LayerInFp32] = (),
) -> tuple[Int8Record, ScaleFile]:
    """Find the mix of INT8 and FP16 that is fastest within tolerance, and write its graph.

    Args:
        fp32: the FP32 graph.
        fp16: the FP16 graph made from it, which provides everything that is not in INT8.
        output: the path of the INT8 graph.
        plan: the vehicles and frames to calibrate and to measure on.
        reference: the reference that the graph is compared with, with the tolerance.
        progress: follows the measurements.
        in_fp32: the layers that the FP16 graph keeps in FP32.

    Returns:
        How the graph was found, and the measurement that it was made with.

    Raises:
        DataError: there is nothing to calibrate on.
        GateError: not even all layers in FP16 are within tolerance.
        ModelError: nothing in the graph can run in INT8, or the scales are of another graph.
        ReidError: the journal is another file, or is damaged.
    """
    check_journal(plan.request.journal)
    model = load_graph(fp32)
    layers = find_layers(model)
    if not layers:
        raise ModelError(f"{plan.card.backbone} has no convolution or matrix product that can run in INT8; use --fp16")
    scales = plan.request.scales or calibrate(fp32, layers, plan, progress)
    scales.check(fp32, layers.inputs)
    journal = Journal(plan.request.journal, _facts(scales, plan, reference))
    if len(journal):
        logger.info(f"resuming an interrupted search after {len(journal)} measurements")
    sensitivity = measure_layers(model, layers, scales, plan, journal, progress)
    graph = Int8Graph(load_graph(fp16), layers, sensitivity.amax)
    engines = plan.request.engines
    timer = EngineTimer(graph, plan.card, engines, in_fp32) if engines else None
    record = Int8Search(graph, sensitivity, reference, journal, progress, timer).run()
    graph.write(output, record.in_fp16)
    return record, scales


def _facts(scales: ScaleFile, plan: CalibrationPlan, reference: Reference) -> dict[str, Any]:
    """Return everything that an evaluation depends on."""
    return {
        "version": __version__,
        "scales": scales.digest(),
        "methods": plan.request.methods,
        "seed": plan.seed,
        "probe": [image.id for image in plan.probe],
        "reference": reference.title,
        "tolerance": reference.tolerance.model_dump(),
        "embeddings": reference.digest(),
        **({"engines": plan.request.engines.command("int8")} if plan.request.engines else {}),
    }
