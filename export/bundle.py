"""Writing a bundle: graphs, card, reference crops, and the proof that the graphs answer as PyTorch does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reid.calibration.journal import check_journal, remove_journal
from reid.data.dataset import Dataset
from reid.data.held_out import warn_if_trained_on
from reid.evaluation.reference_distribution import distribution_of, looks_of
from reid.evaluation.same_camera import own_view_of
from reid.evaluation.verification.origin import failure_with_origin
from reid.evaluation.verification.records import (
    EngineFacts,
    JudgedOn,
    LayerInFp32,
    ReferenceCrops,
    Tolerance,
    Verification,
)
from reid.evaluation.verification.reference import Crops, Reference, Retrieval, embed_retrieval, facts_of
from reid.evaluation.verification.stored_retrieval import write_retrieval
from reid.evaluation.verification.verify import verification_of
from reid.export.engines.add import build_engines
from reid.export.engines.judge import EngineGate
from reid.export.engines.options import EngineOptions
from reid.export.fp16 import write_fp16_graph
from reid.export.graph import OPSET, export_graph
from reid.export.graphs import ExportedGraph, errors_naming
from reid.export.int8.calibrated import write_int8_graph
from reid.export.int8.page import section_of
from reid.export.int8.plan import CalibrationPlan, CalibrationRequest
from reid.export.int8.record import INT8_FILE, SCALES_FILE, Int8Record, TrainedInt8Record
from reid.export.int8.trained import TrainedInt8, write_trained_int8_graph
from reid.export.records import RECORDS
from reid.export.rejection import leave_report, rejected_folder
from reid.export.similarity_limits import similarity_limits
from reid.export.verification.graphs import ComparedGraph, compare_graphs, describe
from reid.pages.verification.files import write_verification
from reid.runtime.bundle import CARD_FILE, ENGINES_FOLDER, REFERENCE_EMBEDDINGS, REFERENCE_RETRIEVAL, Graph, graph_file
from reid.runtime.data_drift.reference import DISTRIBUTION_FILE, Distributions
from reid.runtime.errors import GateError, ModelError
from reid.runtime.files.manifest import remove_replaceable
from reid.runtime.files.names import check_name
from reid.runtime.files.reading import sha256_of
from reid.runtime.files.storage import atomic_directory
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.imaging import as_model_input, decode
from reid.runtime.model_card import ModelCard
from reid.runtime.precision import Precision
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.session import Session, run
from reid.train.device import best_device as best_torch_device
from reid.train.model.checkpoint import Checkpoint
from reid.train.session import torch_session

__all__ = ["FP32_TOLERANCE", "Export", "ExportRequest", "write_bundle"]

FP32_TOLERANCE = 1e-4
"""Largest absolute difference between an FP32 graph's outputs and PyTorch's."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to put into a bundle besides the FP32 graph, and how to verify it.

    Attributes:
        fp16: whether to make the FP16 graph.
        int8: the request for the INT8 graph, for which the FP16 graph is made, too; None for no INT8 graph.
        data: the data set on whose queries and gallery mAP and Rank-k are compared. Where it is None, an export that
            calibrates compares on training vehicles that were held out if there are enough; any other compares the
            embeddings of the reference crops alone.
        tolerance: the largest permitted fall of a graph below PyTorch.
        post_processing: what rankings are compared with as well, besides plain.
        engines: the options to build engines with; None for no engines.
        engine_precisions: the precisions to build engines of; None for all that are made.
    """

    fp16: bool = False
    int8: CalibrationRequest | TrainedInt8 | None = None
    data: Dataset | None = None
    tolerance: Tolerance = field(default_factory=Tolerance)
    post_processing: PostProcessing = PLAIN
    engines: EngineOptions | None = None
    engine_precisions: tuple[Precision, ...] | None = None


DEFAULT_REQUEST = ExportRequest()


@dataclass(frozen=True, slots=True)
class Export:
    """The result of an export.

    Attributes:
        card: the bundle's card.
        largest_difference: the largest difference of the FP32 graph's outputs from PyTorch's, on the reference crops.
        verification: every graph beside PyTorch, and the engines that were built.
        int8: the record of how the INT8 graph was made; None where there is none.
    """

    card: ModelCard
    largest_difference: float
    verification: Verification
    int8: Int8Record | TrainedInt8Record | None = None


def write_bundle(
    checkpoint: Checkpoint, output: Path, request: ExportRequest = DEFAULT_REQUEST, progress: Progress = SILENT
) -> Export:
    """Write a bundle; it is whole or absent.

    Args:
        checkpoint: the model.
        output: the bundle's folder; a bundle that is there is replaced.
        request: the graphs and engines to put into it.
        progress: the progress to advance.

    Raises:
        ReidError: `output` exists and is not a bundle.
        ModelError: the model cannot be exported, or its checkpoint has no reference crops.
        SessionError: engines cannot be built here.
        GateError: a graph is outside tolerance; the report on it is left in `rejected_folder(output)`, unless the
            search found no INT8 graph to report on. Or an engine's layers do not have the precision of its graph.
    """
    if isinstance(request.int8, CalibrationRequest):
        check_journal(request.int8.journal)
    if not checkpoint.reference:
        raise ModelError("the checkpoint has no reference crops to check the graph with; train it again")
    with atomic_directory(output, records=RECORDS) as folder, errors_naming(output, instead_of=folder):
        made = _make_graphs(checkpoint, folder, request, progress)
        if any(one.comparison.failures for one in made.compared):
            raise _rejection(made, checkpoint.card, output)
        card = checkpoint.card.model_copy(update={"opset": OPSET})
        gate = EngineGate(output, folder, card, lambda: made.reference, progress)
        engines = _build_engines(folder, made, request, gate)
        verification = _verification(made, card, engines)
        _write_reference(folder, checkpoint, made, progress)
        _write_distributions(folder, made, progress)
        write_verification(folder, verification, made.int8_section)
        card = _finished_card(card, folder, made, verification)
        (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n")
    _clean_up(output, request)
    return Export(card, made.largest_difference, verification, made.int8)


@dataclass(frozen=True, slots=True)
class _Made:
    """The graphs that were written, beside PyTorch.

    Attributes:
        reference: the reference that they were compared with.
        data: the data set that the reference is of; None for the reference crops alone.
        compared: the comparisons, in the order in which the graphs were made.
        largest_difference: see Export.
        int8: see Export.
        int8_section: the section of the report on how the INT8 graph came about; empty where there is none.
    """

    reference: Reference
    data: Dataset | None
    compared: tuple[ComparedGraph, ...]
    largest_difference: float
    int8: Int8Record | TrainedInt8Record | None = None
    int8_section: str = ""


def _make_graphs(checkpoint: Checkpoint, folder: Path, request: ExportRequest, progress: Progress) -> _Made:
    """Write the graphs, each made from the one before, and compare them; no further graphs are made after a failure."""
    frames = _reference_frames(checkpoint)
    fp32 = folder / graph_file("fp32")
    embeddings, difference = _write_fp32_graph(checkpoint, fp32, frames)
    int8 = request.int8
    plan = CalibrationPlan.of(int8, checkpoint.card) if isinstance(int8, CalibrationRequest) else int8
    data = request.data
    if data is None and isinstance(plan, CalibrationPlan) and plan.held_out is not None:
        data = plan.held_out
        warn_if_trained_on(data, plan.request.data, checkpoint.card)
    reference = _reference(checkpoint, Crops(frames, embeddings), data, request, progress)
    graphs = [ExportedGraph(Graph.of("fp32", fp32))]
    if request.fp16 or request.int8:
        fp16 = folder / graph_file("fp16")
        in_fp32 = write_fp16_graph(fp32, fp16, frames)
        graphs.append(ExportedGraph(Graph.of("fp16", fp16), in_fp32))
    compared = compare_graphs(reference, graphs, progress)
    if plan is None or any(one.comparison.failures for one in compared):
        return _Made(reference, data, compared, difference)
    record, section = _write_int8(folder, plan, reference, in_fp32, progress)
    graph = ExportedGraph(Graph.of("int8", folder / graph_file("int8")), in_fp32)
    compared += compare_graphs(reference, [graph], progress)
    return _Made(reference, data, compared, difference, record, section)


def _reference_frames(checkpoint: Checkpoint) -> NDArray[np.uint8]:
    size = checkpoint.card.preprocessing
    crops = (decode(content, name) for name, content in sorted(checkpoint.reference.items()))
    return np.stack([as_model_input(crop, size) for crop in crops])


def _write_fp32_graph(
    checkpoint: Checkpoint, graph: Path, frames: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], float]:
    """Write the graph that all others are made from, and compare it with PyTorch; see _compare_outputs."""
    export_graph(checkpoint.model, checkpoint.card, graph)
    reference = torch_session(checkpoint.model, checkpoint.card, torch.device("cpu"))
    with load_onnxruntime(graph, "cpu") as session:
        return _compare_outputs(reference, session, frames)


def _compare_outputs(
    reference: Session, session: Session, frames: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], float]:
    """Run both sessions; return the reference's frame embeddings and the largest difference of either output.

    Raises GateError where that is above FP32_TOLERANCE.
    """
    pooling = np.random.default_rng(0).uniform(size=(3, len(frames))).astype(np.float32)
    pooling /= pooling.sum(axis=1, keepdims=True)  # as means, so that one tolerance suits both outputs
    expected, actual = run(reference, frames, pooling), run(session, frames, pooling)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(expected, actual, strict=True))
    if not difference <= FP32_TOLERANCE:
        raise GateError(
            f"the FP32 graph differs from PyTorch by {difference:.2e}, more than {FP32_TOLERANCE:.0e}; no bundle was "
            "written: train another backbone, or export with another version of PyTorch"
        )
    return expected[0], difference


def _reference(
    checkpoint: Checkpoint, crops: Crops, data: Dataset | None, request: ExportRequest, progress: Progress
) -> Reference:
    """Embed with PyTorch what graphs are compared on: queries and gallery where there is data, and the crops."""
    judged_on: JudgedOn = ReferenceCrops(crops=len(crops.frames))
    retrieval: Retrieval | None = None
    if data is not None:
        session = torch_session(checkpoint.model, checkpoint.card, best_torch_device())
        retrieval = embed_retrieval(
            session,
            data.query,
            data.gallery,
            view=own_view_of(data),
            post_processing=request.post_processing,
            progress=progress,
        )
        judged_on = facts_of(data, retrieval)
    return Reference(checkpoint.card.levels, crops, retrieval, judged_on, request.tolerance)


def _write_int8(
    folder: Path,
    plan: CalibrationPlan | TrainedInt8,
    reference: Reference,
    in_fp32: Sequence[LayerInFp32],
    progress: Progress,
) -> tuple[Int8Record | TrainedInt8Record, str]:
    """Write the INT8 graph; return how it came about, as a record and as a section of the report."""
    record: Int8Record | TrainedInt8Record
    fp32, fp16, int8 = (folder / graph_file(precision) for precision in ("fp32", "fp16", "int8"))
    if isinstance(plan, TrainedInt8):
        record, section = write_trained_int8_graph(fp32, fp16, int8, plan.quantization), ""
    else:
        record, scales = write_int8_graph(fp32, fp16, int8, plan, reference, progress, in_fp32=in_fp32)
        scales.save(folder / SCALES_FILE)
        section = section_of(record, scales)
    (folder / INT8_FILE).write_text(record.model_dump_json(indent=2) + "\n")
    return record, section


def _build_engines(folder: Path, made: _Made, request: ExportRequest, gate: EngineGate) -> tuple[EngineFacts, ...]:
    if request.engines is None:
        return ()
    graphs = [one.exported for one in made.compared]
    if request.engine_precisions is not None:
        graphs = [one for one in graphs if one.graph.precision in request.engine_precisions]
    return build_engines(folder, graphs, request.engines, gate)


def _verification(made: _Made, card: ModelCard, engines: Sequence[EngineFacts] = ()) -> Verification:
    fp32, crops = made.compared[0].exported.graph.path, made.reference.crops
    precisions = [describe(one, fp32, crops) for one in made.compared]
    return verification_of(made.reference, card.fingerprint, precisions, engines)


def _rejection(made: _Made, card: ModelCard, output: Path) -> GateError:
    """Leave the report beside the bundle that is not written, and return the error that says so."""
    verification = _verification(made, card)
    page = leave_report(output, verification, made.int8_section)
    former = f" ({output} is from an earlier export)" if output.exists() else ""
    said = failure_with_origin(verification)
    return GateError(f"{said}; no bundle was written{former}, see {page}")


def _write_reference(folder: Path, checkpoint: Checkpoint, made: _Made, progress: Progress) -> None:
    (folder / REFERENCE_EMBEDDINGS).parent.mkdir()
    for name, content in checkpoint.reference.items():
        (folder / "reference" / check_name(name)).write_bytes(content)
    np.save(folder / REFERENCE_EMBEDDINGS, made.reference.crops.embeddings)
    if made.data is not None and made.reference.retrieval is not None:
        write_retrieval(folder / REFERENCE_RETRIEVAL, made.reference.retrieval, made.data, progress)


def _write_distributions(folder: Path, made: _Made, progress: Progress) -> None:
    """Keep how the data looked that the graphs were verified on; each saw the same tracklets."""
    seen = {one.exported.graph.precision: one.comparison.seen for one in made.compared}
    known = {precision: one for precision, one in seen.items() if one is not None}
    if known:
        looks = looks_of(next(iter(known.values())).tracklets, progress)
        found = {precision: distribution_of(one, looks) for precision, one in known.items()}
        (folder / DISTRIBUTION_FILE).write_text(Distributions(precisions=found).model_dump_json() + "\n")


def _finished_card(card: ModelCard, folder: Path, made: _Made, verification: Verification) -> ModelCard:
    """Add what is known of a finished bundle; engines have cards of their own, and come and go."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != ENGINES_FOLDER)
    hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    limits = similarity_limits((one.comparison for one in made.compared), made.reference.tolerance)
    judged = [one for one in verification.precisions if one.scores]
    points = {one.precision: {found.protocol: found.points for found in one.scores} for one in judged}
    return card.model_copy(update={"files": hashes, "similarity": limits, "operating_points": points})


def _clean_up(output: Path, request: ExportRequest) -> None:
    """Remove what attempts before this one left: the report of a rejection, and the journal of a search."""
    remove_replaceable(rejected_folder(output))
    if isinstance(request.int8, CalibrationRequest):
        remove_journal(request.int8.journal)
