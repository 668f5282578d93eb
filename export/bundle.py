"""Writing a bundle: graph, card, reference crops, and the proof that the graph does what PyTorch does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reid.export.graph import OPSET, export_graph
from reid.runtime.bundle import CARD_FILE, REFERENCE_EMBEDDINGS, graph_file
from reid.runtime.errors import GateError, ModelError
from reid.runtime.imaging import decode, resize
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.onnxruntime import OnnxRuntimeSession
from reid.runtime.sessions.session import Session
from reid.runtime.storage import atomic_directory, sha256_of
from reid.train.checkpoint import Checkpoint
from reid.train.session import TorchSession

__all__ = ["FP32_TOLERANCE", "Export", "write_bundle"]

FP32_TOLERANCE = 1e-4
"""Largest absolute difference between an FP32 graph's outputs and PyTorch's."""


@dataclass(frozen=True, slots=True)
class Export:
    """What was written, and how far its graph is from PyTorch."""

    card: ModelCard
    largest_difference: float


def write_bundle(checkpoint: Checkpoint, output: Path) -> Export:
    """Write a bundle with the FP32 graph; it is whole or absent.

    Raises:
        ReidError: `output` exists and is not a bundle.
        ModelError: the model cannot be exported, or its checkpoint has no reference crops.
        GateError: the graph differs from PyTorch by more than FP32_TOLERANCE.
    """
    if not checkpoint.reference:
        raise ModelError("the checkpoint has no reference crops to check the graph with; train it again")
    with atomic_directory(output, replaces=CARD_FILE) as folder:
        graph = folder / graph_file("fp32")
        export_graph(checkpoint.model, checkpoint.card, graph)
        frames = _reference_frames(checkpoint)
        torch_session = TorchSession(checkpoint.model, checkpoint.card, torch.device("cpu"))
        with OnnxRuntimeSession(graph, "cpu") as session:
            embeddings, difference = _compare(torch_session, session, frames)
        _write_reference(folder, checkpoint, embeddings)
        verification = {"fp32": {"largest difference": difference, "tolerance": FP32_TOLERANCE, "crops": len(frames)}}
        (folder / "verification.json").write_text(json.dumps(verification, indent=2) + "\n")
        card = _with_files(checkpoint.card, folder)
        (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n")
    return Export(card, difference)


def _reference_frames(checkpoint: Checkpoint) -> NDArray[np.uint8]:
    size = checkpoint.card.preprocessing
    crops = (decode(content, name) for name, content in sorted(checkpoint.reference.items()))
    return np.stack([resize(crop, size.height, size.width).transpose(2, 0, 1) for crop in crops])


def _compare(reference: Session, session: Session, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    """Run both sessions; give the reference's frame embeddings and the largest difference of either output.

    Raises GateError where that is above tolerance.
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


def _write_reference(folder: Path, checkpoint: Checkpoint, embeddings: NDArray[np.float32]) -> None:
    (folder / REFERENCE_EMBEDDINGS).parent.mkdir()
    for name, content in checkpoint.reference.items():
        (folder / "reference" / name).write_bytes(content)
    np.save(folder / REFERENCE_EMBEDDINGS, embeddings)


def _with_files(card: ModelCard, folder: Path) -> ModelCard:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    return card.model_copy(update={"files": hashes, "opset": OPSET})
