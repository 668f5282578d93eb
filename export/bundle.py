"""Writing a bundle: graphs, card, reference crops, and the proof that the graphs answer as PyTorch does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reid.export.graph import OPSET, export_graph
from reid.export.half import write_half_graph
from reid.export.verification.records import VERIFICATION_FILE, Tolerance, Verification
from reid.export.verification.report import write_verification_report
from reid.export.verification.verify import verify_graphs
from reid.runtime.bundle import CARD_FILE, ENGINES_FOLDER, REFERENCE_EMBEDDINGS, graph_file
from reid.runtime.datasets.dataset import Dataset
from reid.runtime.errors import GateError, ModelError
from reid.runtime.imaging import decode, resize
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.onnxruntime import OnnxRuntimeSession
from reid.runtime.sessions.session import Session
from reid.runtime.storage import atomic_directory, sha256_of
from reid.train.checkpoint import Checkpoint
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
    """

    card: ModelCard
    largest_difference: float
    verification: Verification


def write_bundle(
    checkpoint: Checkpoint,
    output: Path,
    *,
    half: bool = False,
    data: Dataset | None = None,
    tolerance: Tolerance = DEFAULT_TOLERANCE,
    add: Callable[[Path, ModelCard, Verification], tuple[str, ...]] = lambda folder, card, verification: (),
    on_frames: Callable[[int, int], None] = lambda done, total: None,
) -> Export:
    """Write a bundle; it is whole or absent.

    Args:
        checkpoint: the model.
        output: the bundle's folder; a bundle that is there is replaced.
        half: make the FP16 graph, too.
        data: compare mAP and Rank-k on its queries and gallery; None compares the embeddings of the reference crops.
        tolerance: how far a graph may fall below PyTorch.
        add: adds engines to the folder, once the graphs have passed, and says of each what it is.
        on_frames: called with (frames embedded, frames in all).

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
        kept_in_fp32: dict[str, dict[str, float]] = {"fp32": {}}
        if half:
            kept = write_half_graph(folder / graph_file("fp32"), folder / graph_file("fp16"), frames)
            kept_in_fp32["fp16"] = kept
        verification = verify_graphs(
            checkpoint, folder, kept_in_fp32, frames, expected, data=data, tolerance=tolerance, on_frames=on_frames
        )
        if not verification.passed:
            raise _rejection(verification, output)
        card = checkpoint.card.model_copy(update={"opset": OPSET})
        verification = verification.model_copy(update={"engines": add(folder, card, verification)})
        _write_reference(folder, checkpoint, expected)
        _write_verification(folder, verification)
        card = _with_files(card, folder)
        (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n")
    if (rejected_folder(output) / VERIFICATION_FILE).is_file():  # of an attempt before this one
        shutil.rmtree(rejected_folder(output), ignore_errors=True)
    return Export(card, difference, verification)


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


def _rejection(verification: Verification, output: Path) -> GateError:
    """Leave the report beside the bundle that is not written, and give the error that says so."""
    folder = rejected_folder(output)
    with atomic_directory(folder, replaces=VERIFICATION_FILE) as partial:
        _write_verification(partial, verification)
    failures = [failure for precision in verification.precisions for failure in precision.failures]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    former = f" ({output} is a former one)" if output.exists() else ""
    return GateError(f"{failures[0]}{more}; no bundle was written{former}, see {folder / REPORT_FILE}")


def _write_verification(folder: Path, verification: Verification) -> None:
    (folder / VERIFICATION_FILE).write_text(verification.model_dump_json(indent=2) + "\n")
    write_verification_report(folder / REPORT_FILE, verification, title="Verification")


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
