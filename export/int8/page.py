"""Records of INT8, as pages show them."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path

from reid.calibration.scales import ScaleFile
from reid.calibration.search import Evaluation
from reid.calibration.selection import CalibrationFacts
from reid.calibration.sensitivity import LayerEffect, Sensitivity
from reid.evaluation.verification.sentences import data_sentence
from reid.export.int8.record import EngineTimes, Int8Record
from reid.pages.int8 import MethodRow, MixRow, SearchView, SensitivityView, int8_section, sensitivity_page
from reid.pages.sensitivity import LayerRow

__all__ = ["section_of", "write_sensitivity_page"]


def section_of(record: Int8Record, scales: ScaleFile) -> str:
    """Return the section of a bundle's page that shows how its INT8 graph was found, as HTML.

    Args:
        record: the record of the search.
        scales: the measurement that its ranges were chosen from.
    """
    layers = len(record.sensitivity.layers)
    facts = {
        "multiply-accumulates in INT8": f"{record.int8_percent:.1f} %",
        "layers in INT8": f"{layers - len(record.in_fp16)} of {layers}",
        "predicted speed-up over FP16": f"at most {record.predicted_speedup:.2f}",
        "evaluations": f"{len(record.evaluations)}" + (f" of at most {record.budget}" if record.budget else ""),
        "judged on": record.judged_on if isinstance(record.judged_on, str) else data_sentence(record.judged_on),
    }
    if record.judged_by:
        facts["judged by"] = record.judged_by
    if record.times:
        facts["a batch"] = f"{record.times.int8:.2f} ms, FP16 {record.times.fp16:.2f} ms{_not_faster(record.times)}"
    mixes = tuple(_mix(evaluation, record) for evaluation in record.evaluations)
    return int8_section(SearchView(facts, record.in_fp16, mixes), _view(record.sensitivity, scales))


def write_sensitivity_page(path: Path, scales: ScaleFile, sensitivity: Sensitivity) -> None:
    """Write the page of `reid-calibrate --sensitivity`.

    Args:
        path: the .html file; its folder exists.
        scales: the measurement that the ranges were chosen from.
        sensitivity: the effect of every layer with them.
    """
    facts = {"model": scales.fingerprint[:12], "FP32 graph": scales.graph_sha256[:12]}
    page = sensitivity_page(_view(sensitivity, scales), facts)
    path.write_text(page, encoding="utf-8", errors="backslashreplace")


def _not_faster(times: EngineTimes) -> str:
    return "" if times.speedup > 1 else "; INT8 is not faster on this GPU"


def _mix(evaluation: Evaluation, record: Int8Record) -> MixRow:
    in_int8 = (layer.fraction for layer in record.sensitivity.layers if layer.layer not in evaluation.in_fp16)
    return MixRow(
        in_fp16=evaluation.in_fp16,
        int8_fraction=sum(in_int8),
        largest_fall=evaluation.largest_fall,
        similarity=evaluation.similarity,
        passed=evaluation.passed,
        session=evaluation.session if evaluation.session != record.judged_by else "",
    )


def _view(sensitivity: Sensitivity, scales: ScaleFile) -> SensitivityView:
    return SensitivityView(
        layers=tuple(_layer(layer) for layer in sensitivity.layers),
        methods=_methods(sensitivity, scales),
        calibration=_calibration(scales.calibration),
    )


def _layer(effect: LayerEffect) -> LayerRow:
    return LayerRow(
        name=effect.layer,
        op=effect.op,
        fraction=effect.fraction,
        error=effect.error,
        worst=effect.worst,
        map_change=effect.map_change,
        method=effect.method,
    )


def _methods(sensitivity: Sensitivity, scales: ScaleFile) -> tuple[MethodRow, ...]:
    chosen = {layer.tensor: layer.method for layer in sensitivity.layers}
    if not chosen:
        return ()
    counts = Counter(chosen.values())
    return tuple(
        MethodRow(
            method=method,
            error=error,
            clipped=statistics.median(scales.tensors[tensor].by_method[method].clipped for tensor in chosen),
            tensor_error=statistics.median(scales.tensors[tensor].by_method[method].error for tensor in chosen),
            chosen_for=counts[method],
            tensors=len(chosen),
        )
        for method, error in sensitivity.method_errors.items()
    )


def _calibration(facts: CalibrationFacts) -> dict[str, str]:
    split = {"train": "training", "evaluation": "EVALUATION"}[facts.split]
    shown = {
        "frames": f"{facts.count:,} of the {split} split",
        "vehicles": f"{facts.vehicles:,}",
        "cameras": ", ".join(f"{camera} {count:,}" for camera, count in facts.cameras.items()),
        "seed": str(facts.seed),
        "SHA-256 of the names": facts.names_sha256[:12],
    }
    return shown | ({"unreadable": f"{facts.unreadable:,}"} if facts.unreadable else {})
