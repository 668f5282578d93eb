"""Writing a bundle: graphs, card, reference crops, and the proof that the graphs answer as PyTorch does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reid.calibration.journal import check_journal, remove_journal
from reid.data.dataset import Dataset
from reid.data.held_out import is_held_out, warn_if_trained_on
from reid.evaluation.same_camera import own_view_of
from reid.evaluation.verification.records import (
    VERIFICATION_FILE,
    EngineFacts,
    JudgedOn,
    ReferenceCrops,
    ReferenceData,
    Tolerance,
    Verification,
)
from reid.evaluation.verification.reference import Crops, Reference, Retrieval, embed_retrieval
from reid.evaluation.verification.sentences import failure_sentence
from reid.export.engines.add import build_engines
from reid.export.engines.options import EngineOptions
from reid.export.fp16 import write_fp16_graph
from reid.export.graph import OPSET, export_graph
from reid.export.graphs import ExportedGraph, errors_naming
from reid.export.int8.calibrated import write_int8_graph
from reid.export.int8.page import section_of
from reid.export.int8.plan import CalibrationPlan, CalibrationRequest
from reid.export.int8.record import INT8_FILE, SCALES_FILE, Int8Record, TrainedInt8Record
from reid.export.int8.trained import TrainedInt8, write_trained_int8_graph
from reid.export.similarity_limits import similarity_limits
from reid.export.verification.graphs import ComparedGraph, compare_graphs, describe
from reid.pages.int8 import INT8_STYLE
from reid.pages.verification.report import write_verification_report
from reid.runtime.bundle import CARD_FILE, ENGINES_FOLDER, REFERENCE_EMBEDDINGS, Graph, graph_file
from reid.runtime.engine_card import EngineCard
from reid.runtime.errors import GateError, ModelError
from reid.runtime.files.manifest import remove_replaceable, replaceable_directory
from reid.runtime.files.names import check_name
from reid.runtime.files.reading import sha256_of
from reid.runtime.files.storage import Records, atomic_directory
from reid.runtime.imaging import decode, resize
from reid.runtime.model_card import ModelCard
from reid.runtime.precision import Precision
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.session import Session, run
from reid.train.device import best_device as best_torch_device
from reid.train.model.checkpoint import Checkpoint
from reid.train.session import torch_session

__all__ = ["FP32_TOLERANCE", "REPORT_FILE", "Export", "ExportRequest", "rejected_folder", "write_bundle"]

FP32_TOLERANCE = 1e-4
"""Largest absolute difference between an FP32 graph's outputs and PyTorch's."""

REPORT_FILE = "report.html"


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
        engines: the options to build engines with; None for no engines.
        engine_precisions: the precisions to build engines of; None for all that are made.
    """

    fp16: bool = False
    int8: CalibrationRequest | TrainedInt8 | None = None
    data: Dataset | None = None
    tolerance: Tolerance = field(default_factory=Tolerance)
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
    with atomic_directory(output, records=_RECORDS) as folder, errors_naming(output, instead_of=folder):
        made = _make_graphs(checkpoint, folder, request, progress)
        if any(one.comparison.failures for one in made.compared):
            raise _rejection(made, checkpoint.card, output)
        card = checkpoint.card.model_copy(update={"opset": OPSET})
        engines = _build_engines(folder, card, made, request, progress)
        verification = _verification(made, card, engines)
        _write_reference(folder, checkpoint, made.reference.crops)
        _write_verification(folder, verification, made.int8_section)
        card = _finished_card(card, folder, made)
        (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n")
    _clean_up(output, request)
    return Export(card, made.largest_difference, verification, made.int8)


def rejected_folder(output: Path) -> Path:
    """Return the folder of the report on a bundle that was not written because a graph is outside tolerance."""
    named = output if output.name not in ("", "..") else Path(os.path.realpath(output))
    return named.with_name(f"{named.name}.rejected")


def _written_files(bundle: Path) -> dict[str, str]:
    """List what reid wrote into a bundle, engines included: relative name -> SHA-256."""
    files = dict(ModelCard.read(bundle / CARD_FILE).files)
    for sidecar in (bundle / ENGINES_FOLDER).glob("*.json"):
        with contextlib.suppress(ModelError):
            card = EngineCard.read(sidecar)
            files[f"{ENGINES_FOLDER}/{sidecar.name}"] = sha256_of(sidecar)
            files[f"{ENGINES_FOLDER}/{sidecar.stem}.engine"] = card.engine_sha256
    return files


_RECORDS = Records(CARD_FILE, _written_files)


@dataclass(frozen=True, slots=True)
class _Made:
    """The graphs that were written, beside PyTorch.

    Attributes:
        reference: the reference that they were compared with.
        compared: the comparisons, in the order in which the graphs were made.
        largest_difference: see Export.
        int8: see Export.
        int8_section: the section of the report on how the INT8 graph came about; empty where there is none.
    """

    reference: Reference
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
    reference = _reference(checkpoint, Crops(frames, embeddings), data, request.tolerance, progress)
    graphs = [ExportedGraph(Graph.of("fp32", fp32))]
    if request.fp16 or request.int8:
        fp16 = folder / graph_file("fp16")
        in_fp32 = write_fp16_graph(fp32, fp16, frames)
        graphs.append(ExportedGraph(Graph.of("fp16", fp16), in_fp32))
    compared = compare_graphs(reference, graphs, progress)
    if plan is None or any(one.comparison.failures for one in compared):
        return _Made(reference, compared, difference)
    record, section = _write_int8(folder, plan, reference, progress)
    graph = ExportedGraph(Graph.of("int8", folder / graph_file("int8")), in_fp32)
    compared += compare_graphs(reference, [graph], progress)
    return _Made(reference, compared, difference, record, section)


def _reference_frames(checkpoint: Checkpoint) -> NDArray[np.uint8]:
    size = checkpoint.card.preprocessing
    crops = (decode(content, name) for name, content in sorted(checkpoint.reference.items()))
    return np.stack([resize(crop, size.height, size.width).transpose(2, 0, 1) for crop in crops])


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
    checkpoint: Checkpoint, crops: Crops, data: Dataset | None, tolerance: Tolerance, progress: Progress
) -> Reference:
    """Embed with PyTorch what graphs are compared on: queries and gallery where there is data, and the crops."""
    judged_on: JudgedOn = ReferenceCrops(crops=len(crops.frames))
    retrieval: Retrieval | None = None
    if data is not None:
        session = torch_session(checkpoint.model, checkpoint.card, best_torch_device())
        retrieval = embed_retrieval(session, data.query, data.gallery, view=own_view_of(data), progress=progress)
        judged_on = ReferenceData(
            name=data.root.resolve().name,
            layout=data.layout,
            held_out=is_held_out(data),
            query_images=len(data.query.images),
            gallery_images=len(data.gallery.images),
            unreadable=len(retrieval.data.unreadable),
            same_camera=retrieval.data.same_camera,
        )
    return Reference(checkpoint.card.levels, crops, retrieval, judged_on, tolerance)


def _write_int8(
    folder: Path, plan: CalibrationPlan | TrainedInt8, reference: Reference, progress: Progress
) -> tuple[Int8Record | TrainedInt8Record, str]:
    """Write the INT8 graph; return how it came about, as a record and as a section of the report."""
    record: Int8Record | TrainedInt8Record
    fp32, fp16, int8 = (folder / graph_file(precision) for precision in ("fp32", "fp16", "int8"))
    if isinstance(plan, TrainedInt8):
        record, section = write_trained_int8_graph(fp32, fp16, int8, plan.quantization), ""
    else:
        record, scales = write_int8_graph(fp32, fp16, int8, plan, reference, progress)
        scales.save(folder / SCALES_FILE)
        section = section_of(record, scales)
    (folder / INT8_FILE).write_text(record.model_dump_json(indent=2) + "\n")
    return record, section


def _build_engines(
    folder: Path, card: ModelCard, made: _Made, request: ExportRequest, progress: Progress
) -> tuple[EngineFacts, ...]:
    if request.engines is None:
        return ()
    graphs = [one.exported for one in made.compared]
    if request.engine_precisions is not None:
        graphs = [one for one in graphs if one.graph.precision in request.engine_precisions]
    return build_engines(folder, card, graphs, request.engines, progress)


def _verification(made: _Made, card: ModelCard, engines: Sequence[EngineFacts] = ()) -> Verification:
    reference = made.reference
    fp32 = made.compared[0].exported.graph.path
    return Verification(
        fingerprint=card.fingerprint,
        reference=reference.retrieval.session if reference.retrieval else "PyTorch on CPU",
        judged_on=reference.judged_on,
        tolerance=reference.tolerance,
        precisions=tuple(describe(one, fp32, reference.crops) for one in made.compared),
        engines=tuple(engines),
    )


def _rejection(made: _Made, card: ModelCard, output: Path) -> GateError:
    """Leave the report beside the bundle that is not written, and return the error that says so."""
    verification, folder = _verification(made, card), rejected_folder(output)
    with replaceable_directory(folder) as partial:
        _write_verification(partial, verification, made.int8_section)
    first, *others = verification.failures
    more = f" (and {len(others)} more)" if others else ""
    former = f" ({output} is from an earlier export)" if output.exists() else ""
    return GateError(f"{failure_sentence(first)}{more}; no bundle was written{former}, see {folder / REPORT_FILE}")


def _write_verification(folder: Path, verification: Verification, int8_section: str) -> None:
    (folder / VERIFICATION_FILE).write_text(verification.model_dump_json(indent=2) + "\n")
    write_verification_report(
        folder / REPORT_FILE, verification, title="Verification", int8=int8_section, styles=[INT8_STYLE]
    )


def _write_reference(folder: Path, checkpoint: Checkpoint, crops: Crops) -> None:
    (folder / REFERENCE_EMBEDDINGS).parent.mkdir()
    for name, content in checkpoint.reference.items():
        (folder / "reference" / check_name(name)).write_bytes(content)
    np.save(folder / REFERENCE_EMBEDDINGS, crops.embeddings)


def _finished_card(card: ModelCard, folder: Path, made: _Made) -> ModelCard:
    """Add what is known of a finished bundle; engines have cards of their own, and come and go."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != ENGINES_FOLDER)
    hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    limits = similarity_limits((one.comparison for one in made.compared), made.reference.tolerance)
    return card.model_copy(update={"files": hashes, "similarity": limits})


def _clean_up(output: Path, request: ExportRequest) -> None:
    """Remove what attempts before this one left: the report of a rejection, and the journal of a search."""
    remove_replaceable(rejected_folder(output))
    if isinstance(request.int8, CalibrationRequest):
        remove_journal(request.int8.journal)
