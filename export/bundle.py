"""Writing a bundle: graphs, card, reference crops, and the proof that the graphs answer as PyTorch does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reid.calibration.scales import ScaleFile
from reid.data.dataset import Dataset
from reid.evaluation.verification.gate import embed_reference
from reid.evaluation.verification.records import VERIFICATION_FILE, Tolerance, Verification
from reid.export.graph import OPSET, export_graph
from reid.export.half import write_half_graph
from reid.export.int8 import INT8_FILE, SCALES_FILE, Int8Record, Int8Request, held_out_data, write_int8_graph
from reid.export.trained_int8 import TrainedInt8, TrainedInt8Record, write_trained_int8_graph
from reid.export.verification.judge import Judge
from reid.export.verification.report import write_verification_report
from reid.export.verification.verify import verify_graphs
from reid.export.watcher import SILENT, FrameCounter, Watcher
from reid.runtime.bundle import CARD_FILE, ENGINES_FOLDER, REFERENCE_EMBEDDINGS, graph_file
from reid.runtime.errors import GateError, ModelError
from reid.runtime.imaging import decode, resize
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.onnxruntime import OnnxRuntimeSession
from reid.runtime.sessions.session import Session
from reid.runtime.storage import atomic_directory, sha256_of
from reid.train.device import best_device as best_torch_device
from reid.train.model.checkpoint import Checkpoint
from reid.train.session import TorchSession

__all__ = ["FP32_TOLERANCE", "REPORT_FILE", "Export", "rejected_folder", "write_bundle"]

FP32_TOLERANCE = 1e-4
"""Largest absolute difference between an FP32 graph's outputs and PyTorch's."""

DEFAULT_TOLERANCE = Tolerance()
REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True)
class Export:
    """What was written.

    Attributes:
        card: the bundle's.
        largest_difference: of the FP32 graph's outputs to PyTorch's, on the reference crops.
        verification: every graph beside PyTorch.
        int8: how the INT8 graph came about; None where there is none.
    """

    card: ModelCard
    largest_difference: float
    verification: Verification
    int8: Int8Record | TrainedInt8Record | None = None


@dataclass(frozen=True, slots=True)
class _MadeInt8:
    """How an INT8 graph came about; scales where it was calibrated, and not trained."""

    record: Int8Record | TrainedInt8Record
    scales: ScaleFile | None = None

    @property
    def searched(self) -> tuple[Int8Record, ScaleFile] | None:
        """What the report shows: nothing of a graph that was trained."""
        return (self.record, self.scales) if isinstance(self.record, Int8Record) and self.scales else None


def write_bundle(
    checkpoint: Checkpoint,
    output: Path,
    *,
    half: bool = False,
    int8: Int8Request | TrainedInt8 | None = None,
    data: Dataset | None = None,
    tolerance: Tolerance = DEFAULT_TOLERANCE,
    add: Callable[[Path, ModelCard, Verification], tuple[str, ...]] = lambda folder, card, verification: (),
    watcher: Watcher = SILENT,
) -> Export:
    """Write a bundle; it is whole or absent.

    Args:
        checkpoint: the model.
        output: the bundle's folder; a bundle that is there is replaced.
        half: make the FP16 graph, too.
        int8: make the FP16 graph and from it the INT8 graph, so.
        data: compare mAP and Rank-k on its queries and gallery. Where it is None, INT8 is judged by training vehicles
            that were held out, and FP32 and FP16 by these or by the embeddings of the reference crops alone.
        tolerance: how far a graph may fall below PyTorch.
        add: adds engines to the folder, once the graphs have passed, and says of each what it is.
        watcher: is told how it goes.

    Raises:
        ReidError: `output` exists and is not a bundle.
        ModelError: the model cannot be exported, or its checkpoint has no reference crops.
        GateError: a graph is outside tolerance; what was found is left in `rejected_folder(output)`.
    """
    if not checkpoint.reference:
        raise ModelError("the checkpoint has no reference crops to check the graph with; train it again")
    with atomic_directory(output, replaces=CARD_FILE) as folder:
        frames = _reference_frames(checkpoint)
        expected, difference = _write_fp32_graph(checkpoint, folder / graph_file("fp32"), frames)
        searched = int8 if isinstance(int8, Int8Request) else None
        judge = _judge(checkpoint, frames, expected, data, searched, tolerance, watcher)
        kept_in_fp32: dict[str, dict[str, float]] = {"fp32": {}}
        if half or int8:
            kept = write_half_graph(folder / graph_file("fp32"), folder / graph_file("fp16"), frames)
            kept_in_fp32["fp16"] = kept
        verification = verify_graphs(checkpoint.card, folder, kept_in_fp32, judge, watcher)
        made = None
        if int8 and verification.passed:
            made = _write_int8(folder, checkpoint.card, int8, judge, watcher)
            more = verify_graphs(checkpoint.card, folder, {"int8": kept_in_fp32["fp16"]}, judge, watcher)
            verification = verification.model_copy(update={"precisions": verification.precisions + more.precisions})
        if not verification.passed:
            raise _rejection(verification, output, made)
        card = checkpoint.card.model_copy(update={"opset": OPSET})
        verification = verification.model_copy(update={"engines": add(folder, card, verification)})
        _write_reference(folder, checkpoint, expected)
        _write_verification(folder, verification, made)
        card = _with_files(card, folder)
        (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n")
    if (rejected_folder(output) / VERIFICATION_FILE).is_file():  # of an attempt before this one
        shutil.rmtree(rejected_folder(output), ignore_errors=True)
    if searched and searched.journal:
        searched.journal.unlink(missing_ok=True)
    return Export(card, difference, verification, made.record if made else None)


def rejected_folder(output: Path) -> Path:
    """Where the report on a bundle goes that was not written because a graph is outside tolerance."""
    return output.with_name(f"{output.name}.rejected")


def _reference_frames(checkpoint: Checkpoint) -> NDArray[np.uint8]:
    size = checkpoint.card.preprocessing
    crops = (decode(content, name) for name, content in sorted(checkpoint.reference.items()))
    return np.stack([resize(crop, size.height, size.width).transpose(2, 0, 1) for crop in crops])


def _write_fp32_graph(
    checkpoint: Checkpoint, graph: Path, frames: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], float]:
    """Write the graph that all others are made from, and hold it to PyTorch; see _compare."""
    export_graph(checkpoint.model, checkpoint.card, graph)
    reference = TorchSession(checkpoint.model, checkpoint.card, torch.device("cpu"))
    with OnnxRuntimeSession(graph, "cpu") as session:
        return _compare(reference, session, frames)


def _compare(reference: Session, session: Session, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    """Run both sessions; give the reference's frame embeddings and the largest difference of either output.

    Raises GateError where that is above FP32_TOLERANCE.
    """
    pooling = np.random.default_rng(0).uniform(size=(3, len(frames))).astype(np.float32)
    pooling /= pooling.sum(axis=1, keepdims=True)  # as means, so that the tolerance is one for both outputs
    expected, actual = reference.run(frames, pooling), session.run(frames, pooling)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(expected, actual, strict=True))
    if not difference <= FP32_TOLERANCE:
        raise GateError(
            f"the FP32 graph differs from PyTorch by {difference:.2e}, "
            f"more than {FP32_TOLERANCE:.0e}; no bundle was written"
        )
    return expected[0], difference


def _judge(
    checkpoint: Checkpoint,
    frames: NDArray[np.uint8],
    expected: NDArray[np.float32],
    data: Dataset | None,
    int8: Int8Request | None,
    tolerance: Tolerance,
    watcher: Watcher,
) -> Judge:
    """Embed with PyTorch what graphs are compared on."""
    if data is None and int8:
        data = held_out_data(int8.data, checkpoint.card)
    reference = None
    if data is not None:
        session = TorchSession(checkpoint.model, checkpoint.card, best_torch_device())
        on_frames = partial(watcher.on_progress, f"embedding with {session.device}")
        reference = embed_reference(session, data.query, data.gallery, progress=FrameCounter(on_frames))
    return Judge(data, reference, frames, expected, tolerance)


def _write_int8(
    folder: Path, card: ModelCard, request: Int8Request | TrainedInt8, judge: Judge, watcher: Watcher
) -> _MadeInt8:
    fp32, fp16, int8 = (folder / graph_file(precision) for precision in ("fp32", "fp16", "int8"))
    if isinstance(request, TrainedInt8):
        made = _MadeInt8(write_trained_int8_graph(fp32, fp16, int8, request.quantization))
    else:
        made = _MadeInt8(*write_int8_graph(fp32, fp16, int8, card, request, judge, watcher))
    (folder / INT8_FILE).write_text(made.record.model_dump_json(indent=2) + "\n")
    if made.scales:
        made.scales.save(folder / SCALES_FILE)
    return made


def _rejection(verification: Verification, output: Path, int8: _MadeInt8 | None) -> GateError:
    """Leave the report beside the bundle that is not written, and give the error that says so."""
    folder = rejected_folder(output)
    with atomic_directory(folder, replaces=VERIFICATION_FILE) as partial:
        _write_verification(partial, verification, int8)
    failures = [failure for precision in verification.precisions for failure in precision.failures]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    former = f" ({output} is a former one)" if output.exists() else ""
    return GateError(f"{failures[0]}{more}; no bundle was written{former}, see {folder / REPORT_FILE}")


def _write_verification(folder: Path, verification: Verification, int8: _MadeInt8 | None) -> None:
    (folder / VERIFICATION_FILE).write_text(verification.model_dump_json(indent=2) + "\n")
    searched = int8.searched if int8 else None
    write_verification_report(folder / REPORT_FILE, verification, title="Verification", int8=searched)


def _write_reference(folder: Path, checkpoint: Checkpoint, embeddings: NDArray[np.float32]) -> None:
    (folder / REFERENCE_EMBEDDINGS).parent.mkdir()
    for name, content in checkpoint.reference.items():
        (folder / "reference" / name).write_bytes(content)
    np.save(folder / REFERENCE_EMBEDDINGS, embeddings)


def _with_files(card: ModelCard, folder: Path) -> ModelCard:
    """Add what is known of a finished bundle; engines have cards of their own, and come and go."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != ENGINES_FOLDER)
    hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    return card.model_copy(update={"files": hashes})
